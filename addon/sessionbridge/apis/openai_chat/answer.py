"""What the Chat Completions API sends: the chunks of a stream, one JSON document, errors.

The document is the fold of the stream's chunks, so both forms of an answer come from one place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sessionbridge.apis.common import free_text, sse
from sessionbridge.apis.common.openai_errors import error_body, error_document
from sessionbridge.errors import BridgeError, ClaudeFailed
from sessionbridge.model import (
    Delta,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolInput,
    Turn,
)

# https://platform.openai.com/docs/api-reference/chat/object, `finish_reason`
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

THOUGHTS = "reasoning_content"


class Form(NamedTuple):
    """How calls are told: `older` as `function_call`, of which an answer has one at most; those of
    the tools that are `custom` by the text they were made with. Whether thoughts are told: the API
    has no place for them, so only where the request asks for reasoning, in a field of services that
    speak it (https://api-docs.deepseek.com/guides/thinking_mode), which its own clients pass over.
    """

    older: bool = False
    custom: frozenset[str] = frozenset()
    thoughts: bool = False


OLDER = "functions"
"""Marks a turn whose calls are to be told the older way."""


def form_of(turn: Turn) -> Form:
    custom = frozenset(tool.name for tool in turn.parameters.tools if tool.takes_text)
    return Form(OLDER in turn.echo, custom, thoughts=turn.parameters.thinking is not None)


class _Chunks:
    """The chunks of one answer (https://platform.openai.com/docs/api-reference/chat-streaming).

    With `include_usage` every chunk has the field `usage`, null in all but the last.
    """

    def __init__(self, clock: Callable[[], float], form: Form, include_usage: bool) -> None:
        self._clock = clock
        self._include_usage = include_usage
        self._form = form
        self._head: dict[str, Any] = {}
        self._calls = 0
        self._without_input = False
        self._text_call: tuple[ToolCall, list[str]] | None = None
        """One of a custom tool, and the JSON around its text, which is known when that is whole."""

    def of(self, delta: Delta) -> Iterator[dict[str, Any]]:
        match delta:
            case Started():
                self._head = {
                    "id": "chatcmpl-" + delta.message_id.removeprefix("msg_"),
                    "object": "chat.completion.chunk",
                    "created": int(self._clock()),
                    "model": delta.model,
                }
                yield self._chunk({"role": "assistant", "content": ""})
            case TextDelta() | ThinkingDelta():
                yield from self._words(delta)
            case ToolCall():
                yield from self._end_call()
                yield from self._begin_call(delta)
            case ToolInput():
                if self._text_call is not None:
                    self._text_call[1].append(delta.json)
                elif delta.json:
                    self._without_input = False
                    yield self._arguments(delta.json)
            case Finished():
                yield from self._end_call()
                yield from self._finish(delta)
            case _:
                pass  # what only the API behind the CLI can read has no place here

    def _words(self, delta: TextDelta | ThinkingDelta) -> Iterator[dict[str, Any]]:
        thought = isinstance(delta, ThinkingDelta)
        if delta.text and (self._form.thoughts or not thought):
            yield self._chunk({THOUGHTS if thought else "content": delta.text})

    def _finish(self, finished: Finished) -> Iterator[dict[str, Any]]:
        if finished.explanation:
            yield self._chunk({"refusal": finished.explanation})
        yield self._chunk({}, self._finish_reason(finished.stop_reason))
        if self._include_usage:
            yield {**self._head, "choices": [], "usage": _usage(finished)}

    def _begin_call(self, call: ToolCall) -> Iterator[dict[str, Any]]:
        self._calls += 1
        if call.name in self._form.custom:
            self._text_call = call, []
            return
        self._without_input = True
        function = {"name": call.name, "arguments": ""}
        if not self._form.older:
            yield self._call({"id": call.id, "type": "function", "function": function})
            return
        if self._calls > 1:
            sentence = "The model called several functions at once, which function_call cannot"
            raise ClaudeFailed(f"{sentence} tell; send the functions as tools.")
        yield self._chunk({"function_call": function})

    def _end_call(self) -> Iterator[dict[str, Any]]:
        if self._without_input:
            self._without_input = False
            yield self._arguments("{}")
        if self._text_call is not None:
            (call, pieces), self._text_call = self._text_call, None
            custom = {"name": call.name, "input": free_text.written("".join(pieces))}
            # In one piece: the official client for JavaScript does not join the parts of one.
            yield self._call({"id": call.id, "type": "custom", "custom": custom})

    def _arguments(self, piece: str) -> dict[str, Any]:
        function = {"arguments": piece}
        if self._form.older:
            return self._chunk({"function_call": function})
        return self._call({"function": function})

    def _call(self, change: dict[str, Any]) -> dict[str, Any]:
        return self._chunk({"tool_calls": [{"index": self._calls - 1, **change}]})

    def _finish_reason(self, stop_reason: str) -> str:
        if self._form.older and stop_reason == "tool_use":
            return "function_call"
        return FINISH_REASONS.get(stop_reason, "stop")

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return {**self._head, "choices": [choice], **usage}


class StreamEncoder:
    content_type = sse.CONTENT_TYPE

    def __init__(self, clock: Callable[[], float], form: Form, include_usage: bool) -> None:
        self._chunks = _Chunks(clock, form, include_usage)

    def delta(self, delta: Delta) -> bytes:
        return b"".join(sse.json_event(chunk) for chunk in self._chunks.of(delta))

    def ping(self) -> bytes:
        return sse.comment("ping")

    def close(self, finished: Finished) -> bytes:
        return self.delta(finished) + sse.event("[DONE]")

    def error(self, error: BridgeError) -> bytes:
        # Without [DONE]: it would tell the client that the answer is whole.
        return sse.json_event(error_document(error))


class DocumentEncoder:
    content_type = "application/json"

    def __init__(self, clock: Callable[[], float], form: Form) -> None:
        self._chunks = _Chunks(clock, form, include_usage=True)
        self._folded: dict[str, Any] = {}
        self._message = _Message()
        self._finish_reason: str | None = None

    def delta(self, delta: Delta) -> bytes:
        for chunk in self._chunks.of(delta):
            self._folded = chunk
            for choice in chunk["choices"]:
                self._message.add(choice["delta"])
                self._finish_reason = choice["finish_reason"]
        return b""

    def ping(self) -> bytes:
        return b""

    def close(self, finished: Finished) -> bytes:
        self.delta(finished)
        choice = {
            "index": 0,
            "message": self._message.whole(),
            "logprobs": None,
            "finish_reason": self._finish_reason,
        }
        # The last chunk is the one with the usage; only its object and choices differ.
        whole = {**self._folded, "object": "chat.completion", "choices": [choice]}
        return json.dumps(whole).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)


class _Message:
    """The fold of the deltas of one answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._refusal: str | None = None
        self._calls: list[dict[str, Any]] = []
        self._arguments: list[list[str]] = []

    def add(self, delta: dict[str, Any]) -> None:
        self._texts.append(delta.get("content", ""))
        self._thoughts.append(delta.get(THOUGHTS, ""))
        self._refusal = delta.get("refusal", self._refusal)
        if "function_call" in delta:
            self._add_call({"function": delta["function_call"]})
        for call in delta.get("tool_calls", ()):
            self._add_call({field: call[field] for field in call if field != "index"})

    def _add_call(self, call: dict[str, Any]) -> None:
        if "custom" in call or "name" in call["function"]:
            self._calls.append(call)
            self._arguments.append([])
        if "function" in call:
            self._arguments[-1].append(call["function"]["arguments"])

    def whole(self) -> dict[str, Any]:
        for call, pieces in zip(self._calls, self._arguments, strict=True):
            if "function" in call:
                call["function"]["arguments"] = "".join(pieces)
        text = "".join(self._texts)
        message = {"role": "assistant", "content": text, "refusal": self._refusal}
        if thoughts := "".join(self._thoughts):
            message[THOUGHTS] = thoughts
        if not self._calls:
            return message
        message["content"] = text or None
        if "id" not in self._calls[0]:
            return message | {"function_call": self._calls[0]["function"]}
        return message | {"tool_calls": self._calls}


def _usage(finished: Finished) -> dict[str, Any]:
    usage = finished.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": finished.thinking_tokens},
    }
