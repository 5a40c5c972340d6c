"""Counts the LLM traffic that passes through (`sessionbridge_watch`), so that one tool shows all of
it: what a person sees of the flow, and a row of the ledger.

The bytes are read once the answer is whole, beside the flow: nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time

from mitmproxy import http

from sessionbridge.claude.prices import list_price
from sessionbridge.errors import BridgeError, presentable
from sessionbridge.sessions.passed import PassedTurn
from sessionbridge.sessions.store_thread import StoreThread
from sessionbridge.traffic.reading import Reading, api_of, read
from sessionbridge.turn import Usage
from sessionbridge.views.flow_notes import note_passed

logger = logging.getLogger(__name__)


class Watch:
    def __init__(self) -> None:
        self._reading: set[asyncio.Task[None]] = set()

    def passed(self, flow: http.HTTPFlow, store: StoreThread | None) -> None:
        """To be called once the whole answer is there, for every flow that was left alone."""
        if flow.request.method != "POST" or (api := api_of(flow.request.path)) is None:
            return
        task = asyncio.create_task(_count(flow, api, store))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)


async def _count(flow: http.HTTPFlow, api: str, store: StoreThread | None) -> None:
    try:
        ended_at = time.time()
        reading = await asyncio.to_thread(_read, flow, api)
        if reading is None or reading.usage is None:
            return
        turn = _turn(flow, reading, reading.usage, ended_at)
        note_passed(flow, turn)
        if store is not None:
            await store.ask(lambda held: held.passed(turn))
    except BridgeError as error:
        logger.warning("a request that passed through was not counted: %s", error.message)
    except Exception as error:  # nobody awaits this task; told by kind and place alone
        presentable(error)


def _read(flow: http.HTTPFlow, api: str) -> Reading | None:
    response = flow.response
    if response is None or response.status_code != 200:
        return None
    kind = response.headers.get("content-type", "")
    request = flow.request.get_content(strict=False)
    return read(api, request, response.get_content(strict=False), kind)


def _turn(flow: http.HTTPFlow, reading: Reading, usage: Usage, ended_at: float) -> PassedTurn:
    started_at = flow.request.timestamp_start
    model = reading.model or ""
    return PassedTurn(
        host=flow.request.pretty_host,
        api=reading.api,
        model=model,
        status=reading.stop or "",
        usage=usage,
        cost_usd=list_price(model, usage),
        started_at=started_at,
        duration_ms=round((ended_at - started_at) * 1000),
    )
