"""What the Messages API sends: the events of a stream, one JSON document, errors.

Both tell one answer, with the same fields; a document tells it whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from sessionbridge.answer import Call
from sessionbridge.apis.common import ids, sse
from sessionbridge.apis.common.arguments import UNREADABLE, read_arguments
from sessionbridge.apis.common.body import check_values
from sessionbridge.apis.common.collecting import Collecting
from sessionbridge.errors import (
    BridgeError,
    CompactionRefused,
    ThreadInFlight,
    ThreadMismatch,
    ThreadNotFound,
    ThreadsUnsupported,
)
from sessionbridge.model import (
    Block,
    Delta,
    Finished,
    RedactedThinking,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    Usage,
)

# https://docs.anthropic.com/en/api/errors
ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


# Each kind of delta, and its field that holds the piece.
PIECES = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
EMPTY_TEXT = {"type": "text", "text": ""}
EMPTY_THINKING = {"type": "thinking", "thinking": "", "signature": ""}
_EMPTY = {"text": EMPTY_TEXT, "thinking": EMPTY_THINKING}

_WITH_DETAILS = (
    CompactionRefused,
    ThreadInFlight,
    ThreadMismatch,
    ThreadNotFound,
    ThreadsUnsupported,
)


class _Events:
    """The events of one answer (https://docs.anthropic.com/en/docs/build-with-claude/streaming).

    Blocks are numbered anew: the API's `index` is a place in `content`, and the bridge's number
    may skip blocks that are not shown. An answer that `is_kept` has an id the client can come back
    to.
    """

    def __init__(self, *, shows_thinking: bool, is_kept: bool) -> None:
        self._shows_thinking = shows_thinking
        self._is_kept = is_kept
        self._block: int | None = None
        self._index = -1
        self._told: Mapping[str, Any] = {}
        """Of the usage at the beginning, which clients keep until another value is told."""

    def of(self, delta: Delta) -> Iterator[dict[str, Any]]:
        match delta:
            case Started():
                self._told = delta.told
                said = message(delta, is_kept=self._is_kept)
                yield {"type": "message_start", "message": said}
            case TextDelta():
                yield from self._piece(delta.block, EMPTY_TEXT, "text_delta", delta.text)
            case ToolCall():
                call = {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}}
                yield from self._open(delta.block, call)
            case ToolInput():
                yield from self._piece(delta.block, {}, "input_json_delta", delta.json)
            case Finished():
                yield from self._close()
                used = usage(delta.usage) | _news(self._told, delta.told)
                yield {"type": "message_delta", "delta": end(delta), "usage": used}
                yield {"type": "message_stop"}
            case _:
                if self._shows_thinking:
                    yield from self._thought(delta)

    def _thought(
        self, delta: ThinkingDelta | ThinkingSignature | RedactedThinking
    ) -> Iterator[dict[str, Any]]:
        match delta:
            case ThinkingDelta():
                yield from self._piece(delta.block, EMPTY_THINKING, "thinking_delta", delta.text)
            case ThinkingSignature():
                signature = delta.signature
                yield from self._piece(delta.block, EMPTY_THINKING, "signature_delta", signature)
            case RedactedThinking():
                hidden = {"type": "redacted_thinking", "data": delta.data}
                yield from self._open(delta.block, hidden)

    def _piece(
        self, block: int, empty: Mapping[str, Any], kind: str, piece: str
    ) -> Iterator[dict[str, Any]]:
        if not piece:
            return  # an empty block would be refused when the client sends it back
        yield from self._open(block, empty)
        change = {"type": kind, PIECES[kind]: piece}
        yield {"type": "content_block_delta", "index": self._index, "delta": change}

    def _open(self, block: int, empty: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if block == self._block:
            return
        yield from self._close()
        self._block = block
        self._index += 1
        yield {"type": "content_block_start", "index": self._index, "content_block": {**empty}}

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._block is not None:
            yield {"type": "content_block_stop", "index": self._index}


class StreamEncoder:
    content_type = sse.CONTENT_TYPE

    def __init__(self, *, shows_thinking: bool, is_kept: bool) -> None:
        self._events = _Events(shows_thinking=shows_thinking, is_kept=is_kept)

    def delta(self, delta: Delta) -> bytes:
        return b"".join(sse.json_event(event, event["type"]) for event in self._events.of(delta))

    def ping(self) -> bytes:
        return sse.json_event({"type": "ping"}, "ping")

    def close(self, finished: Finished) -> bytes:
        return self.delta(finished)

    def error(self, error: BridgeError) -> bytes:
        return error_event(error)


class DocumentEncoder(Collecting):
    def __init__(self, *, shows_thinking: bool, is_kept: bool) -> None:
        super().__init__()
        self._shows_thinking = shows_thinking
        self._is_kept = is_kept

    def close(self, finished: Finished) -> bytes:
        started = self._answer.started
        assert started is not None
        told = {**started.told, **finished.told}
        last = end(finished) | {"usage": usage(finished.usage) | told}
        said = message(started, is_kept=self._is_kept) | {"content": self._content()}
        return json.dumps(said | last).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)

    def _content(self) -> list[Mapping[str, Any]]:
        blocks = self._answer.blocks(_input).values()
        shown = [block for block in blocks if self._shows_thinking or not _is_thought(block)]
        return [{**_EMPTY.get(block["type"], {}), **block} for block in shown]


def _is_thought(block: Block) -> bool:
    return block["type"] in ("thinking", "redacted_thinking")


def _input(call: Call) -> dict[str, Any]:
    return read_input(call.written) if call.written else {}


def read_input(text: str) -> dict[str, Any]:
    """What a model has written as the input of a call; where a limit cut it short, what is there
    of it, as the official client reads it in a stream."""
    given = read_arguments(text)
    if UNREADABLE not in given or text.lstrip()[:1] != "{":
        return given
    try:
        part = from_json(text, allow_partial=True)
        check_values(part)
    except (ValueError, RecursionError):
        part = None
    if part is None and _is_half_a_character(text):
        part = json.loads(text)  # JSON can say it, though not every reader takes it
    return part if isinstance(part, dict) else given


def _is_half_a_character(text: str) -> bool:
    try:
        check_values(json.loads(text))
    except UnicodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def message(started: Started, *, is_kept: bool = False) -> dict[str, Any]:
    id_ = started.message_id
    return {
        "id": ids.made("msg", id_) if is_kept else id_,
        "type": "message",
        "role": "assistant",
        "model": started.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage(started.usage) | {**started.told},
    }


def usage(used: Usage) -> dict[str, Any]:
    return {
        "input_tokens": used.input_tokens,
        "cache_creation_input_tokens": used.cache_creation_input_tokens,
        "cache_read_input_tokens": used.cache_read_input_tokens,
        "output_tokens": used.output_tokens,
    }


def end(finished: Finished) -> dict[str, Any]:
    told = {"stop_reason": finished.stop_reason, "stop_sequence": finished.stop_sequence}
    details = finished.stop_details
    return told if details is None else told | {"stop_details": {**details}}


def _news(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What is told otherwise than before. The API's own last event has no `service_tier` either."""
    return {name: told for name, told in after.items() if before.get(name) != told}


def error_event(error: BridgeError) -> bytes:
    return sse.json_event(_error(error), "error")


def error_body(error: BridgeError) -> bytes:
    """The bridge gives out no request ids, and the reference has the field nullable."""
    return json.dumps({**_error(error), "request_id": None}).encode()


def _error(error: BridgeError) -> dict[str, Any]:
    other = "invalid_request_error" if 400 <= error.status < 500 else "api_error"
    kind = ERROR_TYPES.get(error.status, other)
    told: dict[str, Any] = {"type": kind, "message": error.message}
    if isinstance(error, _WITH_DETAILS):
        # The official clients have a class for each of these, and know by it how they can go on.
        told["details"] = {"error_code": error.code}
    if isinstance(error, ThreadsUnsupported) and error.unsupported:
        told["details"]["unsupported"] = error.unsupported
    return {"type": "error", "error": told}
