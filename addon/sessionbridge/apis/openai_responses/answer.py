"""What the Responses API sends: the events of a stream, or the last one's response as a document.

The ids that are given out name their place in the answer, so nothing has to be remembered for
`previous_response_id` and `item_reference` but the answer itself: see `reference`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from typing import Any

from sessionbridge.answer import Answer
from sessionbridge.apis.common import ids, sse
from sessionbridge.apis.common.openai_errors import error_body, error_document
from sessionbridge.apis.openai_responses.output import (
    CustomToolCallItem,
    Event,
    FunctionCallItem,
    Item,
    MessageItem,
    ReasoningItem,
    RefusalItem,
    Status,
)
from sessionbridge.errors import BridgeError
from sessionbridge.model import (
    Delta,
    Finished,
    RedactedThinking,
    Said,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    Tool,
    ToolCall,
    ToolInput,
    TurnRequest,
)

# https://platform.openai.com/docs/api-reference/responses/object, `incomplete_details`
INCOMPLETE = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}

# What a response tells of a request that left everything out.
DEFAULTS: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}

_ITEM = re.compile(r"(?:msg|rs|fc|ctc)_(.+)_([0-9]{1,9})")


def response_id(message_id: str) -> str:
    """Of the response that is the answer with this id in the Messages API."""
    return ids.made("resp", message_id)


def answered(response_id: str) -> str | None:
    """The message id that a response's id was made of; None for an id of others."""
    return ids.message_id("resp", response_id)


def reference(id_: str) -> tuple[str, int] | None:
    """The message id and the block that an item's id was made of; None for an id of others."""
    found = _ITEM.fullmatch(id_)
    return (f"msg_{found[1]}", int(found[2])) if found else None


class Events:
    """The events of one answer (https://platform.openai.com/docs/api-reference/responses-streaming).

    Each text, thought and call is an item of its own; the next one ends it.
    """

    def __init__(self, turn: TurnRequest, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tools = {tool.name: tool for tool in turn.parameters.tools}
        thinking = turn.parameters.thinking
        self._shows_thinking = thinking is not None and thinking.display == "summarized"
        # An error may come before anything is known of the answer.
        self._response = _response(turn, int(clock()))
        self._tail = ""
        self._waited = False
        self._answer = Answer()
        self._output: list[dict[str, Any]] = []
        self._item: Item | None = None
        self._block: int | None = None
        self._numbers = count()

    def of(self, delta: Delta) -> Iterator[Event]:
        return map(self._numbered, self._of(delta))

    def queued(self, message_id: str) -> Iterator[Event]:
        """Of a response whose id is told before the model has begun."""
        self._waited = True
        self._named(message_id)
        yield self._numbered(self._lifecycle("created", status="queued"))
        yield self._numbered(self._lifecycle("queued"))

    def cancelled(self) -> Event:
        """There is no event of this name: it is incomplete, and its status says why."""
        return self._numbered(self._lifecycle("incomplete", status="cancelled"))

    def document(self, status: str) -> dict[str, Any]:
        """The response as far as it is there."""
        grows = [self._item.value("in_progress")] if self._item else []
        return {**self._response, "status": status, "output": [*self._output, *grows]}

    def error(self, error: BridgeError) -> Event:
        """The event that clients raise."""
        told = _told(error)
        flat = {name: told[name] for name in ("code", "message", "param")}
        # In the reference the fields are the event's own, on the wire they are in its `error`
        # (and the official client raises only those).
        return self._numbered({"type": "error", **flat, "error": told})

    def failed(self, error: BridgeError) -> Event:
        """The end of the response: some clients look for that alone."""
        told = _told(error)
        why = {name: told[name] for name in ("code", "message")}
        return self._numbered(self._lifecycle("failed", error=why))

    def _named(self, message_id: str) -> None:
        self._tail = message_id.removeprefix("msg_")
        self._response["id"] = response_id(message_id)

    def _numbered(self, event: Event) -> Event:
        return {**event, "sequence_number": next(self._numbers)}

    def _of(self, delta: Delta) -> Iterator[Event]:
        self._answer.hear(delta)
        match delta:
            case Started():
                self._named(delta.message_id)
                self._response["model"] = delta.model
                if not self._waited:
                    yield self._lifecycle("created")
                yield self._lifecycle("in_progress")
            case TextDelta(block, text) if text:
                yield from self._more(block, text, MessageItem)
            case ThinkingDelta(block, text) if text and self._shows_thinking:
                yield from self._more(block, text, ReasoningItem)
            case ToolCall():
                yield from self._call(delta)
            case ToolInput(json=piece) if piece and self._item:
                yield from self._item.grown(piece)
            case Finished():
                yield from self._finish(delta)
            case TextDelta() | ThinkingDelta() | ToolInput():
                pass  # empty, or not to be shown
            case ThinkingSignature() | RedactedThinking():
                pass  # this API has no place for them

    def _more(self, block: int, piece: str, kind: type[Item]) -> Iterator[Event]:
        if block != self._block:
            yield from self._open(block, kind)
        if self._item:
            yield from self._item.grown(piece)

    def _call(self, call: ToolCall) -> Iterator[Event]:
        tool = self._tools.get(call.name) or Tool(call.name, "", {})
        kind = CustomToolCallItem if tool.takes_text else FunctionCallItem
        yield from self._open(call.block, partial(kind, call_id=call.id, tool=tool))

    def _open(self, block: int, make: Callable[[Answer, str, int, int], Item]) -> Iterator[Event]:
        yield from self._close("completed")
        self._block = block
        self._item = make(self._answer, self._tail, block, len(self._output))
        yield from self._item.added()

    def _close(self, status: Status) -> Iterator[Event]:
        if self._item:
            yield from self._item.done(status)
            self._output.append(self._item.value(status))
            self._item = None

    def _finish(self, finished: Finished) -> Iterator[Event]:
        reason = INCOMPLETE.get(finished.stop_reason)
        yield from self._close("incomplete" if reason else "completed")
        if finished.explanation:
            why = TextDelta(0 if self._block is None else self._block + 1, finished.explanation)
            self._answer = Answer()  # it is no block of the model's
            self._answer.hear(why)
            yield from self._more(why.block, why.text, RefusalItem)
            yield from self._close("completed")
        used = usage(finished)
        if reason:
            details = {"reason": reason}
            yield self._lifecycle("incomplete", incomplete_details=details, usage=used)
        else:
            yield self._lifecycle("completed", completed_at=int(self._clock()), usage=used)

    def _lifecycle(self, name: str, **news: Any) -> Event:
        status = "in_progress" if name == "created" else name
        response = {**self._response, "status": status, "output": self._output, **news}
        return {"type": f"response.{name}", "response": response}


class StreamEncoder:
    content_type = sse.CONTENT_TYPE

    def __init__(self, turn: TurnRequest, clock: Callable[[], float]) -> None:
        self._events = Events(turn, clock)

    def delta(self, delta: Said) -> bytes:
        return _stream(self._events.of(delta))

    def ping(self) -> bytes:
        return sse.comment("ping")

    def close(self, finished: Finished) -> bytes:
        return _stream(self._events.of(finished))

    def error(self, error: BridgeError) -> bytes:
        return _stream([self._events.error(error), self._events.failed(error)])


class FrameEncoder:
    """For a WebSocket, whose text frames are the events: one on a line, which JSON never breaks.
    Of a failure it tells the end alone, because a client takes each of the two events for that."""

    content_type = "application/json"

    def __init__(self, turn: TurnRequest, clock: Callable[[], float]) -> None:
        self._events = Events(turn, clock)

    def delta(self, delta: Said) -> bytes:
        return lines(self._events.of(delta))

    def ping(self) -> bytes:
        return b""  # a WebSocket has pings of its own

    def close(self, finished: Finished) -> bytes:
        return lines(self._events.of(finished))

    def error(self, error: BridgeError) -> bytes:
        return lines([self._events.failed(error)])


class DocumentEncoder:
    content_type = "application/json"

    def __init__(self, turn: TurnRequest, clock: Callable[[], float]) -> None:
        self._events = Events(turn, clock)

    def delta(self, delta: Said) -> bytes:
        for _ in self._events.of(delta):
            pass  # the last event holds them all
        return b""

    def ping(self) -> bytes:
        return b""

    def close(self, finished: Finished) -> bytes:
        *_, last = self._events.of(finished)
        return json.dumps(last["response"]).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)


def lines(events: Iterable[Event]) -> bytes:
    """JSON lines; all in ASCII, as in a stream."""
    return b"\n".join(json.dumps(event, allow_nan=False).encode() for event in events)


def _told(error: BridgeError) -> dict[str, Any]:
    """An error body may have no code, an event must: the AI SDK reads none without. Codex does not
    try again after `invalid_prompt`."""
    told: dict[str, Any] = error_document(error)["error"]
    code = "server_error" if told["type"] == "server_error" else "invalid_prompt"
    return {**told, "code": told["code"] or code}


def _stream(events: Iterable[Event]) -> bytes:
    return b"".join(sse.json_event(event, event["type"]) for event in events)


def _response(turn: TurnRequest, created_at: int) -> dict[str, Any]:
    """What is the same from the first event to the last, and empty places for the rest."""
    echo = {**DEFAULTS, **turn.echo}
    for name in ("reasoning", "text"):
        echo[name] = DEFAULTS[name] | echo[name]
    return {
        "id": "resp_0",  # until the model has begun to answer
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "model": turn.model,
        "error": None,
        "incomplete_details": None,
        "usage": None,
        **echo,
    }


def usage(finished: Finished) -> dict[str, Any]:
    used = finished.usage
    return {
        "input_tokens": used.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": used.cache_read_input_tokens,
            "cache_write_tokens": used.cache_creation_input_tokens,
        },
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"reasoning_tokens": finished.thinking_tokens},
        "total_tokens": used.prompt_tokens + used.output_tokens,
    }
