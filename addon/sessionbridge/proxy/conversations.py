"""Requests about conversations that clients create, each as one question to those that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from mitmproxy import http

from sessionbridge.apis.openai_responses import conversations as api
from sessionbridge.errors import BadRequest, NotFound, StoreUnavailable
from sessionbridge.names import shown
from sessionbridge.proxy.http_message import decoded
from sessionbridge.stored.conversations import Conversations
from sessionbridge.turns.worker import Worker


async def answered(
    request: http.Request,
    path: Sequence[str],
    kept: Conversations | None,
    worker: Worker,
    caller: str,
) -> Mapping[str, Any]:
    """`path` is what follows the collection's, the id first. Raises `BridgeError`."""
    if kept is None:
        raise StoreUnavailable("No conversations are kept: the session map is switched off.")
    body = await _body(request)
    match request.method, *path:
        case ("POST",):
            return await kept.create(caller, *await worker.done(api.created, body))
        case "GET", id_:
            return await kept.retrieve(id_, caller)
        case "POST", id_:
            return await kept.update(id_, caller, await worker.done(api.updated, body))
        case "DELETE", id_:
            return await kept.delete(id_, caller)
        case "POST", id_, "items":
            return await kept.add_items(id_, caller, await worker.done(api.added, body))
        case "GET", id_, "items":
            return await kept.items(id_, caller, dict(request.query))
        case "GET", id_, "items", item:
            return await kept.item(id_, caller, item)
        case "DELETE", id_, "items", item:
            return await kept.delete_item(id_, caller, item)
    raise NotFound(f"There is no {request.method} at this address of a conversation.")


async def _body(request: http.Request) -> bytes:
    if not request.raw_content:
        return b""
    body = await asyncio.to_thread(decoded, request)  # a large one takes a while
    if body is None:
        coding = shown(request.headers.get("content-encoding", ""))
        raise BadRequest(f"The request body cannot be decoded (content-encoding: {coding}).")
    return body
