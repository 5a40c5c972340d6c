"""The answer to a request for a summary
(https://platform.claude.com/docs/en/build-with-claude/compaction-on-demand): one block, in a stream
too, or none where the model has written no summary. `stop_reason` tells which. What it used is told
in `iterations` alone, for no reply was made.
"""

from __future__ import annotations

import json
from typing import Any

from sessionbridge.answer import Answer
from sessionbridge.apis.anthropic_messages.answer import (
    end,
    error_body,
    error_event,
    message,
    usage,
)
from sessionbridge.apis.anthropic_messages.compaction import KIND, signature
from sessionbridge.apis.common import sse
from sessionbridge.apis.common.collecting import Collecting
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.errors import BridgeError
from sessionbridge.model import Finished, Said, Started, Usage


def encoder(*, stream: bool) -> Encoder:
    return _StreamEncoder() if stream else _DocumentEncoder()


class _Summary:
    def __init__(self) -> None:
        self._answer = Answer()

    @property
    def _head(self) -> dict[str, Any]:
        started = self._answer.started
        assert started is not None
        return message(Started(started.message_id, started.model, Usage()))

    def _content(self, finished: Finished) -> list[dict[str, Any]]:
        """Only what has come to its end is a summary: half of one would be taken for the whole."""
        text = self._answer.text.strip()
        if finished.stop_reason != "end_turn" or not text:
            return []
        return [{"type": KIND, "content": text, "signature": signature(text)}]

    def _end(self, finished: Finished) -> dict[str, Any]:
        made = {"stop_reason": KIND} if self._content(finished) else {}
        return end(finished) | made

    def _usage(self, finished: Finished) -> dict[str, Any]:
        used: dict[str, Any] = {"type": KIND, **usage(finished.usage)}
        started = self._answer.started
        told = {**(started.told if started else {}), **finished.told}
        if "cache_creation" in told:
            used["cache_creation"] = told["cache_creation"]
        return usage(Usage()) | {"iterations": [used]}


class _StreamEncoder(_Summary):
    content_type = sse.CONTENT_TYPE

    def delta(self, delta: Said) -> bytes:
        self._answer.hear(delta)
        if not isinstance(delta, Started):
            return b""
        return _event({"type": "message_start", "message": self._head})

    def ping(self) -> bytes:
        return _event({"type": "ping"})

    def close(self, finished: Finished) -> bytes:
        events: list[dict[str, Any]] = []
        for block in self._content(finished):
            events.append({"type": "content_block_start", "index": 0, "content_block": block})
            events.append({"type": "content_block_stop", "index": 0})
        told = {"delta": self._end(finished), "usage": self._usage(finished)}
        events += [{"type": "message_delta", **told}, {"type": "message_stop"}]
        return b"".join(map(_event, events))

    def error(self, error: BridgeError) -> bytes:
        return error_event(error)


class _DocumentEncoder(Collecting, _Summary):
    def close(self, finished: Finished) -> bytes:
        content = {"content": self._content(finished)}
        told = self._end(finished) | {"usage": self._usage(finished)}
        return json.dumps(self._head | content | told).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)


def _event(event: dict[str, Any]) -> bytes:
    return sse.json_event(event, event["type"])
