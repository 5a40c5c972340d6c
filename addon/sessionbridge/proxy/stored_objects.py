"""Requests for what the bridge keeps: responses by their ids, and conversations. Answered here
where the id tells that it was made here, and where no API is behind the proxy. One that creates a
conversation has no id: what it names, and an option, decide as they do for turns. All others pass
on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mitmproxy import http

from sessionbridge.apis.common import sse
from sessionbridge.apis.common.body import refused
from sessionbridge.apis.common.ids import is_made_here
from sessionbridge.apis.openai_responses.answer import answered
from sessionbridge.apis.openai_responses.pages import number, page
from sessionbridge.errors import BadRequest, NotFound
from sessionbridge.model import Origin
from sessionbridge.proxy import conversations
from sessionbridge.proxy.clients import Clients
from sessionbridge.proxy.direct_responses import answer, share
from sessionbridge.proxy.guard import Guard
from sessionbridge.proxy.local_server import LocalServer
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.ownership import is_ours
from sessionbridge.proxy.rerouting import Rerouting
from sessionbridge.proxy.routing import ObjectPath
from sessionbridge.turns.background import Running, followed
from sessionbridge.turns.exchange import Chunk, Exchange, Head, Replay
from sessionbridge.turns.naming import Named
from sessionbridge.turns.request_meta import attempt, wanted
from sessionbridge.turns.runtime import Runtime


class _Asks(NamedTuple):
    id: str
    origin: Origin | None
    caller: str


class StoredObjects:
    def __init__(
        self,
        options: Options,
        runtime: Runtime,
        rerouting: Rerouting,
        guard: Guard,
        local: LocalServer,
        clients: Clients,
    ) -> None:
        self._options = options
        self._runtime = runtime
        self._rerouting = rerouting
        self._guard = guard
        self._local = local
        self._clients = clients

    def asked(
        self, flow: http.HTTPFlow, headers: Callable[[http.HTTPFlow], Mapping[str, str]]
    ) -> ObjectPath | None:
        """What the flow asks for, where that is ours to answer. `headers` tells those that count,
        by name in lower case."""
        found = self._at(flow)
        if found is None or flow.request.method == "OPTIONS":
            return None
        if found.rest or self._local.is_meant(flow) or self._begins_here(headers(flow)):
            return found
        return None

    def may_be_at(self, flow: http.HTTPFlow) -> bool:
        """Whether requests to the flow's address are, or may be, ours to answer."""
        return self._at(flow) is not None

    def _at(self, flow: http.HTTPFlow) -> ObjectPath | None:
        found = self._options.routes.object_at(flow.request, flow.client_conn.sni)
        if found is None or found.asks_for("input_tokens"):  # no id, and nothing that is kept
            return None
        if not found.rest or self._local.is_meant(flow) or is_made_here(found.rest[0]):
            return found
        return None

    def _begins_here(self, headers: Mapping[str, str]) -> bool:
        """Whether a conversation is created where turns are answered that name no more than this
        request does."""
        return is_ours(Named(self._origin(headers), None), headers, self._options)

    def _origin(self, headers: Mapping[str, str]) -> Origin | None:
        return self._options.origins.detect(headers, None)

    async def serve(
        self, flow: http.HTTPFlow, path: ObjectPath, headers: Mapping[str, str]
    ) -> None:
        """Header names are in lower case. Raises `BridgeError`."""
        self._guard.check(flow, self._options.usable())
        if path.kind == "conversations":
            asked, worker = self._asked(flow, headers), self._runtime.worker
            kept = self._runtime.conversations(next(iter(path.rest), None), asked)
            caller = asked.attempt.caller
            told = await conversations.answered(flow.request, path.rest, kept, worker, caller)
            flow.comment = "answered here · conversation"
        elif (response := await self._response(flow, path, headers)) is not None:
            told = response
        else:
            return
        answer(flow, 200, await asyncio.to_thread(_encoded, told))
        share(flow, self._options.allow_origins)

    def _asked(self, flow: http.HTTPFlow, headers: Mapping[str, str]) -> Exchange:
        """As a conversation is created."""
        asking, origin = self._clients.asking(flow), self._origin(headers)
        return Exchange(
            "responses",
            asking.owning(origin),
            attempt(headers, asking.name),
            rules=asking.rules,
            wanted=wanted(headers, Named(origin, None)),
        )

    async def _response(
        self, flow: http.HTTPFlow, path: ObjectPath, headers: Mapping[str, str]
    ) -> Mapping[str, Any] | None:
        """None for one whose events follow."""
        id_, *further = path.rest
        asking = self._clients.asking(flow)
        origin = asking.owning(self._origin(headers))
        asks = _Asks(id_, origin, attempt(headers, asking.name).caller)
        query = dict(flow.request.query)
        flow.comment = "answered here · response"
        match flow.request.method, further:
            case "GET", [] if query.get("stream") == "true":
                parts = await self._stream(asks, query.get("starting_after"))
                self._rerouting.begin(flow, Replay(parts))
                return None
            case "GET", []:
                return await self._retrieved(asks)
            case "GET", ["input_items"]:
                return await self._input_items(asks, query)
            case "POST", ["cancel"]:
                return await self._cancelled(asks)
            case "DELETE", []:
                return await self._deleted(asks)
            case method, _:
                raise NotFound(f"There is no {method} at this address of a response.")

    async def _retrieved(self, asks: _Asks) -> dict[str, Any]:
        if running := await self._running(asks):
            return running.log.document
        return await self._runtime.responses.retrieve(*asks)

    async def _input_items(self, asks: _Asks, query: Mapping[str, str]) -> dict[str, Any]:
        running = await self._running(asks)
        if running is None or running.is_kept:
            return await self._runtime.responses.input_items(*asks, query)
        if (items := running.input_items) is not None:
            return page(items, query)
        raise NotFound(
            "What this response was asked is not kept, because it has failed or was cancelled, or "
            "no conversations are kept here."
        )

    async def _stream(self, asks: _Asks, after: str | None) -> AsyncGenerator[Head | Chunk]:
        place = -1 if after is None else number(after)
        if place is None:
            raise refused("starting_after", "must be the sequence_number of an event")
        if running := await self._running(asks):
            if place >= len(running.log.events):
                last = len(running.log.events) - 1
                raise refused("starting_after", f"no event has this number, the newest has {last}")
            return followed(running, place)
        events = await self._runtime.responses.events(*asks)
        if after is not None:
            raise refused(
                "starting_after",
                "the events of this response are no longer kept; ask for it without stream",
            )
        return _sent(events)

    async def _cancelled(self, asks: _Asks) -> dict[str, Any]:
        if running := await self._running(asks):
            await running.stop()
            return running.log.document
        told = await self._runtime.responses.retrieve(*asks)
        if not told["background"]:
            raise BadRequest("A response that is not in the background cannot be cancelled.")
        return told

    async def _deleted(self, asks: _Asks) -> dict[str, Any]:
        """One that is under way is stopped."""
        running = await self._running(asks)
        if running is None:
            return await self._runtime.responses.delete(*asks)
        await running.stop()
        self._runtime.background.forget(running.log.message_id)
        if running.is_kept:
            return await self._runtime.responses.delete(*asks)
        return {"id": asks.id, "object": "response", "deleted": True}

    async def _running(self, asks: _Asks) -> Running | None:
        """One that is under way, or whose events are kept still."""
        background, message_id = self._runtime.background, answered(asks.id)
        found = background.find(message_id, asks.origin, asks.caller) if message_id else None
        if found is not None and found.is_kept and not await self._runtime.responses.has(*asks):
            background.forget(found.log.message_id)
            return None
        return found


def _encoded(document: Mapping[str, Any]) -> bytes:
    """Piece by piece, because `json.dumps` keeps the interpreter's lock to its end: 4 ms for a
    megabyte of text (measured with Python 3.13), and the items of a conversation have no bound."""
    return b"".join(piece.encode() for piece in json.JSONEncoder().iterencode(document))


async def _sent(events: Iterable[Mapping[str, Any]]) -> AsyncGenerator[Head | Chunk]:
    yield Head(200, [("content-type", sse.CONTENT_TYPE), ("cache-control", "no-cache")])
    for event in events:
        yield Chunk(sse.json_event(event, event["type"]))
    yield Chunk(b"", last=True)
