"""The Responses API on a WebSocket (https://developers.openai.com/api/docs/guides/websocket-mode).

A frame of the client asks for a response in the fields of `POST /v1/responses`, and in some that
only frames have. The events of a stream are the frames that answer it; an error is an event too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import uuid4

from sessionbridge.apis.common.body import load, load_body, refused
from sessionbridge.apis.common.openai_errors import error_document, status
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.apis.openai_responses.answer import Events, FrameEncoder, lines, response_id
from sessionbridge.apis.openai_responses.hosted import BRINGS_TOOLS
from sessionbridge.apis.openai_responses.request import ResponsesShape, prepared_turn, turn_of
from sessionbridge.errors import BridgeError
from sessionbridge.model import Finished, Started, TurnRequest, Usage

_OF_FRAMES = ("type", "stream_id", "generate", "stream")
"""Fields that a POST does not have, or that mean nothing here: all is streamed."""

_NONE = b"[]"


class FramesShape(ResponsesShape):
    """What clients may come back to by its id is kept whatever `store` says: the API itself keeps
    the last response of a connection."""

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        fields = load_body(body, model)
        if isinstance(fields, dict):
            fields = {k: v for k, v in fields.items() if k not in _OF_FRAMES}
            fields["stream"] = True
        turn = turn_of(fields)
        if turn.background:
            raise refused("background", "must be false on a WebSocket")
        return replace(turn, store=True)

    def encoder(self, turn: TurnRequest) -> Encoder:
        return FrameEncoder(turn, self._clock)

    def error_body(self, error: BridgeError) -> bytes:
        return json.dumps(error_frame(error)).encode()


def error_frame(error: BridgeError) -> dict[str, Any]:
    """With what a response would tell in its headers. The reference has those in the error, Codex
    looks for them beside it (seen in its code)."""
    document = error_document(error)
    told = dict(error.headers)
    if error.retry_after is not None:
        told["retry-after"] = str(error.retry_after)
    if told:
        document["error"]["headers"] = told
        document["headers"] = told
    return {"type": "error", "status": status(error), **document}


class Before(NamedTuple):
    """What a frame brings along that goes on from a response of its WebSocket: the items that have
    to come before its own, as JSON lists, and the response that all of them follow. `tools` are
    those among the `input` that bring tools, which hold on for all that follows."""

    input: bytes
    previous: str | None
    tools: bytes


def after(message_id: str, before: Before | None, tools: bytes) -> tuple[str, Before | None]:
    """The id of a response, and what a frame brings along that goes on from it, where the items
    that were sent for it had these `tools`. All else that was said is known by the id."""
    response = response_id(message_id)
    known = _both(before.tools, tools) if before else tools
    return response, Before(known, response, known) if known != _NONE else None


def tools_in(items: Any) -> bytes:
    """The items among these that bring tools, as ones that do nothing else."""
    brought = [
        {"type": "additional_tools", "role": "developer", "tools": item.get("tools")}
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and item.get("type") in BRINGS_TOOLS
    ]
    return json.dumps(brought).encode()


def prepared(body: bytes, before: Before | None) -> tuple[str, Before, bytes]:
    """Of a frame with `generate: false`, in which a client says ahead what its next turn is going
    to go on from: the id it has for that, what a frame brings along that names it, and the events
    of the answer. Raises `BadRequest`."""
    fields = load(body, "")
    if isinstance(fields, dict):
        fields = {k: v for k, v in fields.items() if k not in _OF_FRAMES}
    turn = prepared_turn(fields)
    message_id = f"msg_{uuid4().hex}"
    events = Events(turn, time.time)
    said = [
        *events.of(Started(message_id, turn.model, Usage())),
        *events.of(Finished("", (), "end_turn", Usage(), cost_usd=None)),
    ]
    items = _items(fields.get("input"))
    made = Before(json.dumps(items).encode(), fields.get("previous_response_id"), tools_in(items))
    if before:
        whole, tools = _both(before.input, made.input), _both(before.tools, made.tools)
        made = Before(whole, before.previous, tools)
    return response_id(message_id), made, lines(said)


def joined(body: bytes, before: Before) -> bytes:
    """The frame with what comes before it. Raises `BadRequest`."""
    return json.dumps(_joined(load(body, ""), before)).encode()


def announced(body: bytes, before: Before | None) -> bytes:
    """The turn that a frame with `generate: false` announces, in the place of whose question stands
    some word. Raises `BadRequest`."""
    fields = load(body, "")
    if before:
        fields = _joined(fields, before)
    items = [*_items(fields.get("input")), {"role": "user", "content": "?"}]
    return json.dumps({**fields, "input": items}).encode()


def _joined(fields: dict[str, Any], before: Before) -> dict[str, Any]:
    items = [*json.loads(before.input), *_items(fields.get("input"))]
    return {**fields, "input": items, "previous_response_id": before.previous}


def _both(first: bytes, second: bytes) -> bytes:
    """Two JSON lists as one."""
    if _NONE in (first, second):
        return second if first == _NONE else first
    return first[:-1] + b", " + second[1:]


def _items(given: Any) -> list[Any]:
    match given:
        case None:
            return []
        case str():
            return [{"role": "user", "content": given}]
        case list():
            return given
    raise refused("input", "must be a string or a list of items")


def cancelled(created: bytes, number: int) -> bytes:
    """The end of a response that the client has cancelled, after `number` events of which the first
    was `created`. The reference has a status for it and no event; this one ends a response for all
    clients."""
    response: Mapping[str, Any] = json.loads(created)["response"]
    details = {"reason": "cancelled"}
    end = {**response, "status": "cancelled", "incomplete_details": details}
    return lines([{"type": "response.incomplete", "response": end, "sequence_number": number}])
