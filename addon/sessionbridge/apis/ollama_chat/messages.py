"""The messages of a request to Ollama, into the neutral form (see `ollama_chat.request`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from sessionbridge.apis.common.body import (
    Fields,
    Listed,
    NotBlank,
    check,
    refused,
    texts,
    without_effect,
)
from sessionbridge.apis.common.messages import CallWords, Messages, Results
from sessionbridge.apis.ollama_chat.open_calls import OpenCalls
from sessionbridge.model import Block, TextBlock

CALL_WORDS = CallWords(
    unanswered="each of tool_calls must be answered by a message with the role 'tool', which is"
    " missing for {}",
    uncalled="a message with the role 'tool' must answer one of tool_calls before it, which is"
    " missing for {}",
)

# How the base64 of these types begins; the API is told no type beside the data.
IMAGES = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}


class ChatMessage(Fields):
    role: Literal["system", "user", "assistant", "tool"]
    content: Any = None
    images: Listed[str] | None = None
    thinking: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    # What `tool_name` was called before.
    name: str | None = None


class _Function(Fields):
    name: NotBlank
    arguments: dict[str, Any] | None = None


class _ToolCall(Fields):
    function: _Function
    id: str | None = None


class History:
    """Takes the messages in order. `ignored` names what of them has no effect."""

    def __init__(self) -> None:
        self.messages = Messages(CALL_WORDS)
        self.ignored: set[str] = set()
        self._results = Results(self.messages)
        self._open = OpenCalls()

    def add(self, message: ChatMessage, field: str) -> None:
        self._note_ignored(message)
        content = f"{field}.content"
        if message.role == "tool":
            self._results.add(self._result(message, field), field)
            return
        if message.role == "system":
            self.messages.instruct_within(texts(message.content, content), field)
            return
        self.end()
        if message.role == "user":
            self.messages.say("user", _said(message, field), field)
        else:
            self.messages.say("assistant", self._assistant_blocks(message, field), field)

    def end(self) -> None:
        """Tells the tool results gathered so far."""
        self._results.tell()

    def _note_ignored(self, message: ChatMessage) -> None:
        fields = dict(message.model_extra or {})
        if message.role != "tool":
            fields["name"] = message.name
        if message.role != "user":
            fields["images"] = message.images
        self.ignored |= without_effect(fields, silent=frozenset(), defaults={}, prefix="messages.")

    def _assistant_blocks(self, message: ChatMessage, field: str) -> Iterator[Block]:
        if message.content is not None:
            yield from _texts(message.content, f"{field}.content")
        self._open.clear()
        for index, value in enumerate(message.tool_calls or []):
            call = check(_ToolCall, value, f"{field}.tool_calls.{index}")
            id_, name = self._open.add(call.id, call.function.name), call.function.name
            given = call.function.arguments or {}
            yield {"type": "tool_use", "id": id_, "name": name, "input": given}

    def _result(self, message: ChatMessage, field: str) -> Block:
        content = message.content
        told = "" if content is None else list(_texts(content, f"{field}.content"))
        return {
            "type": "tool_result",
            "tool_use_id": self._answered(message, field),
            "content": told,
        }

    def _answered(self, message: ChatMessage, field: str) -> str:
        id_ = self._open.answered(message.tool_call_id, message.tool_name or message.name)
        if id_ is None:
            raise refused(f"{field}.role", "a tool message must follow the call that it answers")
        return id_


def _said(message: ChatMessage, field: str) -> Iterator[Block]:
    images = message.images or []
    if message.content is not None or not images:
        yield from _texts(message.content, f"{field}.content")
    for index, data in enumerate(images):
        yield _image(data, f"{field}.images.{index}")


def _texts(content: object, field: str) -> Iterator[TextBlock]:
    for said in texts(content, field):
        if said.strip():
            yield {"type": "text", "text": said}


def _image(data: str, field: str) -> Block:
    for beginning, media_type in IMAGES.items():
        if data.startswith(beginning):
            source = {"type": "base64", "media_type": media_type, "data": data}
            return {"type": "image", "source": source}
    raise refused(field, "must hold a JPEG, PNG, GIF or WebP image in base64")
