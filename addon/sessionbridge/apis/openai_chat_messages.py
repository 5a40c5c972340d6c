"""The messages of a Chat Completions request, into the neutral form (see `openai_chat`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any, Literal

from sessionbridge.apis.body import Fields, NotBlank, check, load, refused, without_effect
from sessionbridge.apis.content import Part, parts, text_of, texts, unknown
from sessionbridge.apis.conversation import Conversation
from sessionbridge.turn import Block

# https://docs.anthropic.com/en/docs/build-with-claude/vision
IMAGE_TYPES = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
USER_TYPES = ("text", "image_url", "file")
ASSISTANT_TYPES = ("text", "refusal")

_DATA_URL = re.compile(r"data:([^;,\s]+)(?:;[^;,\s]+)*;base64,(\S+)", re.IGNORECASE)
_NO_ID = re.compile(r"[^A-Za-z0-9_-]")


class _Function(Fields):
    name: NotBlank
    arguments: str


class _ToolCall(Fields):
    id: NotBlank
    type: Literal["function"] = "function"
    function: _Function


class ChatMessage(Fields):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Any = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: NotBlank | None = None
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
        self.conversation = Conversation()
        self.ignored: set[str] = set()
        self._results: list[Block] = []
        self._results_field = ""
        self._numbers = count(1)
        self._open_function: str | None = None

    def add(self, message: ChatMessage, field: str) -> None:
        self._note_ignored(message)
        content = f"{field}.content"
        if message.role in ("tool", "function"):
            self._results.append(self._result(message, field))
            self._results_field = field
            return
        if message.role in ("system", "developer"):
            self.conversation.instruct(texts(message.content, content))
            return
        self.end()
        if message.role == "user":
            self.conversation.say("user", self._user_blocks(message.content, content), field)
        else:
            self.conversation.say("assistant", self._assistant_blocks(message, field), field)

    def end(self) -> None:
        """Tells the tool results gathered so far."""
        if self._results:
            self.conversation.say("user", self._results, self._results_field)
            self._results = []

    def _note_ignored(self, message: ChatMessage) -> None:
        fields = dict(message.model_extra or {})
        if message.role != "function":  # there the name is the function's
            fields["name"] = message.name
        self.ignored |= without_effect(fields, silent=frozenset(), defaults={}, prefix="messages.")

    def _user_blocks(self, content: object, field: str) -> Iterator[Block]:
        for part in parts(content, field):
            match part.type:
                case "text":
                    yield _text(text_of(part))
                case "image_url":
                    image = check(_Image, part.value, part.field).image_url
                    if image.detail not in (None, "auto"):
                        self.ignored.add("messages.content.image_url.detail")
                    yield _image(image.url, f"{part.field}.image_url.url")
                case "file":
                    yield _document(part)
                case _:
                    raise unknown(part, USER_TYPES)

    def _assistant_blocks(self, message: ChatMessage, field: str) -> Iterator[Block]:
        if message.content is not None:
            yield from _said(message.content, f"{field}.content")
        if message.refusal:
            yield _text(message.refusal)
        for index, call in enumerate(message.tool_calls or []):
            place = f"{field}.tool_calls.{index}.function"
            yield _tool_use(_id(call.id), call.function, place)
        if message.function_call:
            self._open_function = f"function_call_{next(self._numbers)}"
            place = f"{field}.function_call"
            yield _tool_use(self._open_function, message.function_call, place)

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
            return _id(message.tool_call_id)
        if self._open_function is None:
            raise refused(f"{field}.role", "a function message must follow its function_call")
        answered, self._open_function = self._open_function, None
        return answered


def _said(content: object, field: str) -> Iterator[Block]:
    for part in parts(content, field):
        match part.type:
            case "text":
                yield _text(text_of(part))
            case "refusal":
                yield _text(check(_Refusal, part.value, part.field).refusal)
            case _:
                raise unknown(part, ASSISTANT_TYPES)


def _result_content(content: object, field: str) -> str | list[Block]:
    if content is None or isinstance(content, str):
        return content or ""
    return [_text(text) for text in texts(content, field) if text.strip()]


def _tool_use(id_: str, function: _Function, field: str) -> Block:
    # Clients spell a call without arguments as "" too.
    given = load(function.arguments, f"{field}.arguments") if function.arguments else {}
    if not isinstance(given, dict):
        raise refused(f"{field}.arguments", "must be a JSON object")
    return {"type": "tool_use", "id": id_, "name": function.name, "input": given}


def _image(url: str, field: str) -> Block:
    if url.lower().startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data_url(url, field)
    if media_type not in IMAGE_TYPES:
        raise refused(field, "must hold a JPEG, PNG, GIF or WebP image")
    return {"type": "image", "source": _base64(IMAGE_TYPES[media_type], data)}


def _document(part: Part) -> Block:
    field = f"{part.field}.file.file_data"
    file = check(_File, part.value, part.field).file
    if file.file_data is None:
        rule = "is required; an upload's file_id is of no use to the Claude CLI"
        raise refused(field, rule)
    media_type, data = _data_url(file.file_data, field)
    if media_type != "application/pdf":
        raise refused(field, "must hold a PDF; send text as a text part")
    title = {"title": file.filename} if file.filename else {}
    return {"type": "document", "source": _base64(media_type, data), **title}


def _data_url(url: str, field: str) -> tuple[str, str]:
    found = _DATA_URL.fullmatch(url)
    if not found:
        raise refused(field, "must be a base64 data: URL, or for images an http(s) URL")
    return found[1].lower(), found[2]


def _base64(media_type: str, data: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": data}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _id(given: str) -> str:
    # The Messages API: ^[a-zA-Z0-9_-]+$; other models write `functions.search:0`.
    return _NO_ID.sub("_", given)
