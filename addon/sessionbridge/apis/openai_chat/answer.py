"""What the Chat Completions API sends: the chunks of a stream, one JSON document, errors.

Both tell one answer, with the same fields; a document tells it whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sessionbridge.answer import Call
from sessionbridge.apis.common import free_text, sse
from sessionbridge.apis.common.collecting import Collecting
from sessionbridge.apis.common.openai_errors import error_body, error_document
from sessionbridge.errors import AnswerUnfit, BridgeError
from sessionbridge.model import (
    Delta,
    Finished,
    Said,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolInput,
    TurnRequest,
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


def form_of(turn: TurnRequest) -> Form:
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
                self._head = _head(delta, self._clock)
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
        yield self._chunk({}, _finish_reason(finished.stop_reason, self._form))
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
        _check_older(self._calls)
        yield self._chunk({"function_call": function})

    def _end_call(self) -> Iterator[dict[str, Any]]:
        if self._without_input:
            self._without_input = False
            yield self._arguments("{}")
        if self._text_call is not None:
            (call, pieces), self._text_call = self._text_call, None
            # In one piece: the official client for JavaScript does not join the parts of one.
            yield self._call(_custom(call.id, call.name, "".join(pieces)))

    def _arguments(self, piece: str) -> dict[str, Any]:
        function = {"arguments": piece}
        if self._form.older:
            return self._chunk({"function_call": function})
        return self._call({"function": function})

    def _call(self, change: dict[str, Any]) -> dict[str, Any]:
        return self._chunk({"tool_calls": [{"index": self._calls - 1, **change}]})

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


class DocumentEncoder(Collecting):
    def __init__(self, clock: Callable[[], float], form: Form) -> None:
        super().__init__()
        self._clock = clock
        self._form = form
        self._head: dict[str, Any] = {}

    def delta(self, delta: Said) -> bytes:
        silent = super().delta(delta)
        if isinstance(delta, Started):
            self._head = _head(delta, self._clock)
        if isinstance(delta, ToolCall) and self._form.older:
            _check_older(len(self._answer.calls))  # at once: what follows is of no use
        return silent

    def close(self, finished: Finished) -> bytes:
        choice = {
            "index": 0,
            "message": self._message(finished),
            "logprobs": None,
            "finish_reason": _finish_reason(finished.stop_reason, self._form),
        }
        head = self._head | {"object": "chat.completion"}
        return json.dumps({**head, "choices": [choice], "usage": _usage(finished)}).encode()

    def error(self, error: BridgeError) -> bytes:
        return error_body(error)

    def _message(self, finished: Finished) -> dict[str, Any]:
        text, calls = self._answer.text, self._answer.calls
        refusal = finished.explanation or None
        message = {"role": "assistant", "content": text, "refusal": refusal}
        if self._form.thoughts and (thoughts := self._answer.thoughts):
            message[THOUGHTS] = thoughts
        if not calls:
            return message
        message["content"] = text or None
        told = [self._call(call) for call in calls]
        if self._form.older and "function" in told[0]:
            return message | {"function_call": told[0]["function"]}
        return message | {"tool_calls": told}

    def _call(self, call: Call) -> dict[str, Any]:
        if call.name in self._form.custom:
            return _custom(call.id, call.name, call.written)
        function = {"name": call.name, "arguments": call.written or "{}"}
        return {"id": call.id, "type": "function", "function": function}


def _head(started: Started, clock: Callable[[], float]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-" + started.message_id.removeprefix("msg_"),
        "object": "chat.completion.chunk",
        "created": int(clock()),
        "model": started.model,
    }


def _custom(id_: str, name: str, written: str) -> dict[str, Any]:
    custom = {"name": name, "input": free_text.written(written)}
    return {"id": id_, "type": "custom", "custom": custom}


def _check_older(calls: int) -> None:
    if calls > 1:
        sentence = "The model called several functions at once, which function_call cannot"
        raise AnswerUnfit(f"{sentence} tell; send the functions as tools.")


def _finish_reason(stop_reason: str, form: Form) -> str:
    if form.older and stop_reason == "tool_use":
        return "function_call"
    return FINISH_REASONS.get(stop_reason, "stop")


def _usage(finished: Finished) -> dict[str, Any]:
    usage = finished.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": finished.thinking_tokens},
    }
