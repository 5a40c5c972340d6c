"""Counts the LLM traffic that passes through (`sessionbridge_watch`), so that one tool shows all of
it: what a person sees of the flow, and a row of the ledger.

The bytes are read once the answer is whole, beside the flow: nobody waits for it. Whoever answered
may be anybody, so sizes have limits and names are cut to what can be shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from mitmproxy import http

from sessionbridge.claude.prices import list_price
from sessionbridge.errors import BridgeError
from sessionbridge.model import Usage
from sessionbridge.names import printable
from sessionbridge.proxy.flow_notes import note_own, note_passed
from sessionbridge.proxy.http_message import decoded, lowered
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.rerouting import Rerouting
from sessionbridge.sessions.store.ledger import PassedTurn
from sessionbridge.traffic.reading import ENDS, Reading, api_of, sums, sums_of_event
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.worker import is_costly

logger = logging.getLogger(__name__)

_MOST = 32 * 1024 * 1024
"""Bytes of an answer that are read."""


class Passthrough:
    def __init__(self, options: Options, runtime: Runtime, rerouting: Rerouting) -> None:
        self._options = options
        self._runtime = runtime
        self._rerouting = rerouting
        self._reading: set[asyncio.Task[None]] = set()

    def response(self, flow: http.HTTPFlow) -> None:
        # mitmproxy calls this for flows from a file as well; those are not live.
        if flow in self._rerouting or not flow.live or not self._options.watch:
            return
        if flow.request.method != "POST" or (api := api_of(flow.request.path)) is None:
            return
        read = partial(self._answer, flow, api)
        self._begin(self._count(flow, read, flow.request.timestamp_start))

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """An answer of the Responses API is whole with the message that ends it, and there are many
        on one WebSocket."""
        if flow in self._rerouting or not flow.live or not self._options.watch:
            return
        if flow.websocket is None or api_of(flow.request.path) != "responses":
            return
        *before, message = flow.websocket.messages
        if message.from_client or not any(end in message.content for end in ENDS):
            return
        asked = (one.timestamp for one in reversed(before) if one.from_client)
        started_at = next(asked, flow.request.timestamp_start)
        if len(message.content) <= _MOST:
            read = partial(self._read, sums_of_event, message.content)
            self._begin(self._count(flow, read, started_at))

    def _begin(self, counting: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._told(counting))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _told(self, counting: Coroutine[Any, Any, None]) -> None:
        try:
            await counting
        except BridgeError as error:
            logger.warning("a request that passed through was not counted: %s", error.message)
        except Exception as error:  # nobody awaits this task; a text may quote the conversation
            kind = type(error).__name__
            logger.warning("a request that passed through was not counted (%s)", kind)

    async def _count(
        self, flow: http.HTTPFlow, read: Callable[[], Awaitable[Reading | None]], started_at: float
    ) -> None:
        ended_at = time.time()
        if await self._runtime.is_our_child(lowered(flow.request.headers)):
            note_own(flow)  # and is counted in the turn that made it
            return
        reading = await read()
        if reading is None or reading.usage is None:
            return
        turn = _turn(flow, reading, reading.usage, (started_at, ended_at))
        note_passed(flow, turn)
        if self._runtime.store is not None:
            await self._runtime.store.passed(turn)

    async def _answer(self, flow: http.HTTPFlow, api: str) -> Reading | None:
        """None for what is no answer, or is too large."""
        response = flow.response
        if response is None or response.status_code != 200:
            return None
        body = await asyncio.to_thread(decoded, response, _MOST)
        if body is None:
            return None
        return await self._read(sums, body, api, response.headers.get("content-type", ""))

    async def _read[*Ts](
        self, read: Callable[[bytes, *Ts], Reading | None], body: bytes, *how: *Ts
    ) -> Reading | None:
        if is_costly(body):
            return await self._runtime.worker.run(read, body, *how)
        return await asyncio.to_thread(read, body, *how)


def _turn(
    flow: http.HTTPFlow, reading: Reading, usage: Usage, times: tuple[float, float]
) -> PassedTurn:
    started_at, ended_at = times
    model = printable(reading.model or "")
    return PassedTurn(
        host=printable(flow.request.pretty_host),
        api=reading.api,
        model=model,
        status=printable(reading.stop or ""),
        usage=usage,
        cost_usd=list_price(model, usage),
        started_at=started_at,
        duration_ms=round((ended_at - started_at) * 1000),
    )
