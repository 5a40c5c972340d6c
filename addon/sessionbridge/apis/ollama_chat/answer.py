"""What Ollama's chat API sends: a stream of JSON documents, one in a line, or one alone, and errors
(https://docs.ollama.com/api/chat, https://docs.ollama.com/api/errors)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from sessionbridge.answer import Answer, Call
from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.errors import BridgeError, Overloaded
from sessionbridge.model import (
    Delta,
    Finished,
    Said,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    TurnRequest,
)

# https://docs.ollama.com/api/chat, `done_reason`; it has no word for other ends.
LENGTH = {"max_tokens", "model_context_window_exceeded"}


def status(error: BridgeError) -> int:
    """A server of Ollama's that is busy says so with 503 (https://docs.ollama.com/faq)."""
    return 503 if isinstance(error, Overloaded) else error.status


def error_body(error: BridgeError) -> bytes:
    return json.dumps({"error": error.message}).encode()


class _Writer:
    """The documents of one answer. Thoughts are told where the request asks for them."""

    def __init__(self, clock: Callable[[], float], turn: TurnRequest) -> None:
        self._clock = clock
        self._thinks = turn.parameters.thinking is not None
        self._model = turn.model
        self._begun_at = self._started_at = clock()
        self.answer = Answer()

    def hear(self, delta: Said) -> None:
        self.answer.hear(delta)
        if isinstance(delta, Started):
            self._model, self._started_at = delta.model, self._clock()

    def words(self, delta: TextDelta | ThinkingDelta) -> dict[str, str] | None:
        """Of a message that brings them; None for what is not told."""
        if not delta.text:
            return None
        if isinstance(delta, TextDelta):
            return {"content": delta.text}
        return {"content": "", "thinking": delta.text} if self._thinks else None

    def call(self, index: int, call: Call) -> dict[str, Any]:
        given = read_arguments(call.written)
        return {
            "id": call.id,
            "function": {"index": index, "name": call.name, "arguments": given},
        }

    def whole(self, finished: Finished) -> dict[str, Any]:
        """The message that tells all of the answer."""
        answer, content = self.answer, self.answer.text + finished.explanation
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if self._thinks and answer.thoughts:
            message["thinking"] = answer.thoughts
        if calls := [self.call(index, call) for index, call in enumerate(answer.calls)]:
            message["tool_calls"] = calls
        return message

    def document(self, message: dict[str, Any], *, done: bool = False) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat().replace("+00:00", "Z")
        message = {"role": "assistant", "content": "", **message}
        return {"model": self._model, "created_at": now, "message": message, "done": done}

    def end(self, finished: Finished) -> dict[str, Any]:
        """What the last document has besides; durations are in nanoseconds."""
        ended_at = self._clock()
        return {
            "done_reason": "length" if finished.stop_reason in LENGTH else "stop",
            "total_duration": _nanoseconds(ended_at - self._begun_at),
            "load_duration": 0,
            "prompt_eval_count": finished.usage.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(self._started_at - self._begun_at),
            "eval_count": finished.usage.output_tokens,
            "eval_duration": _nanoseconds(ended_at - self._started_at),
        }


class StreamEncoder:
    content_type = "application/x-ndjson"

    def __init__(self, clock: Callable[[], float], turn: TurnRequest) -> None:
        self._writer = _Writer(clock, turn)
        self._calls_told = 0

    def delta(self, delta: Said) -> bytes:
        self._writer.hear(delta)
        return b"".join(map(self._line, self._messages(delta)))

    def ping(self) -> bytes:
        """A message that says nothing: clients read each line as JSON."""
        return self._line({})

    def close(self, finished: Finished) -> bytes:
        lines = [*self._calls_that_are_whole(finished)]
        if finished.explanation:
            lines.append({"content": finished.explanation})
        last = self._writer.document({}, done=True) | self._writer.end(finished)
        return b"".join([*map(self._line, lines), _line(last)])

    def error(self, error: BridgeError) -> bytes:
        return error_body(error) + b"\n"

    def _messages(self, delta: Said) -> Iterator[dict[str, Any]]:
        match delta:
            case Started():
                yield {}
            case TextDelta() | ThinkingDelta():
                if told := self._writer.words(delta):
                    yield told
            case ToolCall():
                yield from self._calls_that_are_whole(delta)
            case _:
                pass  # pieces of calls, and what only the API behind the CLI can read

    def _calls_that_are_whole(self, heard: Delta) -> Iterator[dict[str, Any]]:
        """A call is told in one piece, so not before the next one begins, or the answer ends."""
        calls = self._writer.answer.calls
        whole = len(calls) if isinstance(heard, Finished) else len(calls) - 1
        for index in range(self._calls_told, whole):
            yield {"tool_calls": [self._writer.call(index, calls[index])]}
        self._calls_told = whole

    def _line(self, message: dict[str, Any]) -> bytes:
        return _line(self._writer.document(message))


class DocumentEncoder:
    content_type = "application/json"

    def __init__(self, clock: Callable[[], float], turn: TurnRequest) -> None:
        self._writer = _Writer(clock, turn)

    def delta(self, delta: Said) -> bytes:
        self._writer.hear(delta)
        return b""

    def ping(self) -> bytes:
        return b""

    def close(self, finished: Finished) -> bytes:
        message = self._writer.whole(finished)
        document = self._writer.document(message, done=True)
        return json.dumps(document | self._writer.end(finished)).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _nanoseconds(seconds: float) -> int:
    """At least one: clients divide by them."""
    return max(1, round(seconds * 1e9))
