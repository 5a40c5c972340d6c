"""What the Messages API sends: the events of a stream, one JSON document, errors.

The document is the fold of the stream's events, so both forms of an answer come from one place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sessionbridge.apis import sse
from sessionbridge.errors import BridgeError
from sessionbridge.turn import Finished, Started, TextDelta, Usage

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


class _Events:
    """The events of one answer (https://docs.anthropic.com/en/docs/build-with-claude/streaming).

    Blocks are numbered anew: the API's `index` is a place in `content`, and the bridge's number
    may skip blocks that are not shown.
    """

    def __init__(self) -> None:
        self._block: int | None = None
        self._index = -1

    def of(self, delta: Started | TextDelta | Finished) -> Iterator[dict[str, Any]]:
        match delta:
            case Started():
                yield {"type": "message_start", "message": _message(delta)}
            case TextDelta(text=""):
                pass  # an empty block would be refused when the client sends it back
            case TextDelta():
                yield from self._open(delta.block)
                change = {"type": "text_delta", "text": delta.text}
                yield {"type": "content_block_delta", "index": self._index, "delta": change}
            case Finished():
                yield from self._close()
                end = {"stop_reason": delta.stop_reason, "stop_sequence": None}
                yield {"type": "message_delta", "delta": end, "usage": _usage(delta.usage)}
                yield {"type": "message_stop"}

    def _open(self, block: int) -> Iterator[dict[str, Any]]:
        if block == self._block:
            return
        yield from self._close()
        self._block = block
        self._index += 1
        empty = {"type": "text", "text": ""}
        yield {"type": "content_block_start", "index": self._index, "content_block": empty}

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._block is not None:
            yield {"type": "content_block_stop", "index": self._index}


class StreamEncoder:
    content_type = sse.CONTENT_TYPE

    def __init__(self) -> None:
        self._events = _Events()

    def delta(self, delta: Started | TextDelta | Finished) -> bytes:
        return b"".join(sse.json_event(event, event["type"]) for event in self._events.of(delta))

    def ping(self) -> bytes:
        return sse.json_event({"type": "ping"}, "ping")

    def close(self, finished: Finished) -> bytes:
        return self.delta(finished)

    def error(self, error: BridgeError) -> bytes:
        return sse.json_event(_error(error), "error")


class DocumentEncoder:
    content_type = "application/json"

    def __init__(self) -> None:
        self._events = _Events()
        self._message: dict[str, Any] = {}
        self._texts: list[list[str]] = []

    def delta(self, delta: Started | TextDelta | Finished) -> bytes:
        for event in self._events.of(delta):
            match event["type"]:
                case "message_start":
                    self._message = event["message"]
                case "content_block_start":
                    self._texts.append([])
                case "content_block_delta":
                    self._texts[event["index"]].append(event["delta"]["text"])
                case "message_delta":
                    self._message |= event["delta"] | {"usage": event["usage"]}
        return b""

    def ping(self) -> bytes:
        return b""

    def close(self, finished: Finished) -> bytes:
        self.delta(finished)
        content = [{"type": "text", "text": "".join(text)} for text in self._texts]
        return json.dumps(self._message | {"content": content}).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)


def _message(started: Started) -> dict[str, Any]:
    return {
        "id": started.message_id,
        "type": "message",
        "role": "assistant",
        "model": started.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(started.usage),
    }


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "output_tokens": usage.output_tokens,
    }


def error_body(error: BridgeError) -> bytes:
    """The bridge gives out no request ids, and the reference has the field nullable."""
    return json.dumps({**_error(error), "request_id": None}).encode()


def _error(error: BridgeError) -> dict[str, Any]:
    other = "invalid_request_error" if 400 <= error.status < 500 else "api_error"
    kind = ERROR_TYPES.get(error.status, other)
    return {"type": "error", "error": {"type": kind, "message": error.message}}
