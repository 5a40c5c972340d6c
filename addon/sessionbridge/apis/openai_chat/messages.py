"""The messages of a Chat Completions request, into the neutral form (see `openai_chat`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Literal

from sessionbridge.apis.common import free_text
from sessionbridge.apis.common.body import (
    Fields,
    NotBlank,
    Part,
    check,
    parts,
    refused,
    text_of,
    texts,
    unknown,
    without_effect,
)
from sessionbridge.apis.common.messages import CallWords, Messages, Results
from sessionbridge.apis.common.openai_content import document, image, text, tool_use
from sessionbridge.model import Block

CALL_WORDS = CallWords(
    unanswered="An assistant message with 'tool_calls' must be followed by tool messages responding"
    " to each 'tool_call_id'. The following tool_call_ids did not have response messages: {}",
    uncalled="messages with role 'tool' must be a response to a preceding message with"
    " 'tool_calls', and {} answers no call.",
)
USER_TYPES = ("text", "image_url", "file")
ASSISTANT_TYPES = ("text", "refusal")

# What the model thought, as services that speak this API give it and have it sent back: it is
# nothing the model takes without the signature, for which they have no place.
THOUGHTS = frozenset({"reasoning", "reasoning_content", "reasoning_details"})


class _Function(Fields):
    name: NotBlank
    arguments: str


class _Custom(Fields):
    name: NotBlank
    input: str


class _FunctionCall(Fields):
    id: str
    function: _Function


class _CustomCall(Fields):
    id: str
    custom: _Custom


class _Kind(Fields):
    type: Literal["function", "custom"] = "function"


class ChatMessage(Fields):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Any = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    function_call: _Function | None = None


class _ImageUrl(Fields):
    url: str
    detail: str | None = None


class _Image(Fields):
    image_url: _ImageUrl


class _FileData(Fields):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _File(Fields):
    file: _FileData


class _Refusal(Fields):
    refusal: str


class History:
    """Takes the messages in order. `ignored` names what of them has no effect."""

    def __init__(self) -> None:
        self.messages = Messages(CALL_WORDS)
        self.ignored: set[str] = set()
        self._results = Results(self.messages)
        self._numbers = count(1)
        self._open_function: str | None = None

    def add(self, message: ChatMessage, field: str) -> None:
        self._note_ignored(message)
        content = f"{field}.content"
        if message.role in ("tool", "function"):
            self._results.add(self._result(message, field), field)
            return
        if message.role in ("system", "developer"):
            self.messages.instruct_within(texts(message.content, content), field)
            return
        self.end()
        if message.role == "user":
            self.messages.say("user", self._user_blocks(message.content, content), field)
        else:
            self.messages.say("assistant", self._assistant_blocks(message, field), field)

    def end(self) -> None:
        """Tells the tool results gathered so far."""
        self._results.tell()

    def _note_ignored(self, message: ChatMessage) -> None:
        fields = dict(message.model_extra or {})
        if message.role != "function":  # there the name is the function's
            fields["name"] = message.name
        silent = THOUGHTS if message.role == "assistant" else frozenset()
        self.ignored |= without_effect(fields, silent=silent, defaults={}, prefix="messages.")

    def _user_blocks(self, content: object, field: str) -> Iterator[Block]:
        for part in parts(content, field):
            match part.type:
                case "text":
                    yield text(text_of(part))
                case "image_url":
                    given = check(_Image, part.value, part.field).image_url
                    if given.detail not in (None, "auto"):
                        self.ignored.add("messages.content.image_url.detail")
                    yield image(given.url, f"{part.field}.image_url.url")
                case "file":
                    yield _document(part)
                case _:
                    raise unknown(part, USER_TYPES)

    def _assistant_blocks(self, message: ChatMessage, field: str) -> Iterator[Block]:
        if message.content is not None:
            yield from _said(message.content, f"{field}.content")
        if message.refusal:
            yield text(message.refusal)
        for index, value in enumerate(message.tool_calls or []):
            yield _call(value, f"{field}.tool_calls.{index}")
        if message.function_call:
            self._open_function = f"function_call_{next(self._numbers)}"
            function = message.function_call
            yield tool_use(self._open_function, function.name, function.arguments)

    def _result(self, message: ChatMessage, field: str) -> Block:
        return {
            "type": "tool_result",
            "tool_use_id": self._answered(message, field),
            "content": _result_content(message.content, f"{field}.content"),
        }

    def _answered(self, message: ChatMessage, field: str) -> str:
        if message.role == "tool":
            if message.tool_call_id is None:
                raise refused(f"{field}.tool_call_id", "is required")
            return message.tool_call_id
        if self._open_function is None:
            raise refused(f"{field}.role", "a function message must follow its function_call")
        answered, self._open_function = self._open_function, None
        return answered


def _call(value: object, field: str) -> Block:
    if check(_Kind, value, field).type == "custom":
        made = check(_CustomCall, value, field)
        given = free_text.given(made.custom.input)
        return {"type": "tool_use", "id": made.id, "name": made.custom.name, "input": given}
    call = check(_FunctionCall, value, field)
    return tool_use(call.id, call.function.name, call.function.arguments)


def _said(content: object, field: str) -> Iterator[Block]:
    for part in parts(content, field):
        match part.type:
            case "text":
                yield text(text_of(part))
            case "refusal":
                yield text(check(_Refusal, part.value, part.field).refusal)
            case _:
                raise unknown(part, ASSISTANT_TYPES)


def _result_content(content: object, field: str) -> str | list[Block]:
    if content is None or isinstance(content, str):
        return content or ""
    return [text(said) for said in texts(content, field) if said.strip()]


def _document(part: Part) -> Block:
    file = check(_File, part.value, part.field).file
    return document(file.file_data, file.filename, f"{part.field}.file.file_data")
