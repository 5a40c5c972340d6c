"""The Messages API, `POST /v1/messages` (https://docs.anthropic.com/en/api/messages).

Its blocks are the neutral form, so they pass as they are, with these exceptions:
- `cache_control` and `citations` are removed: the CLI sets its own cache marks, and citations of
  an answer cannot be given back to it.
- `thinking` and `redacted_thinking` blocks are left out: their signatures belong to the account
  and model that made them.
- blank text is left out (see `conversation`).
- a `system` message within `messages`
  (https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages) is added
  to the system prompt, the one place for instructions the CLI has.
A last message of the assistant (prefill) is refused, as current models do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.anthropic_messages_answer import DocumentEncoder, StreamEncoder, error_body
from sessionbridge.apis.body import (
    Fields,
    NotBlank,
    check,
    read,
    refused,
    shown,
    without_effect,
)
from sessionbridge.apis.content import Part, parts, text_of, texts, unknown
from sessionbridge.apis.conversation import Conversation, is_blank
from sessionbridge.apis.shape import Encoder
from sessionbridge.errors import BridgeError
from sessionbridge.turn import Block, Role, Turn

# They change no answer, `cache_control` only its price.
SILENT = frozenset({"metadata", "cache_control"})
DEFAULTS = {
    "service_tier": "auto",
    "thinking": {"type": "disabled"},
    "tool_choice": {"type": "auto"},
}


class _Message(Fields):
    role: Literal["user", "assistant", "system"]
    content: Any


class _Request(Fields):
    model: NotBlank
    max_tokens: Annotated[int, Field(ge=1)]
    messages: Annotated[list[_Message], Field(min_length=1)]
    system: Any = None
    stream: bool | None = None


class _Sourced(Fields):
    source: dict[str, Any]


class _ToolUse(Fields):
    id: NotBlank
    name: NotBlank
    input: dict[str, Any]


class _ToolResult(Fields):
    tool_use_id: NotBlank
    content: Any = None
    is_error: bool | None = None


class _Base64Source(Fields):
    media_type: NotBlank
    data: NotBlank


class _UrlSource(Fields):
    url: NotBlank


class _TextSource(Fields):
    data: NotBlank


class _ContentSource(Fields):
    content: Any


# `file` is missing on purpose: it names an upload of the client's account, not of the CLI's.
SOURCES: dict[str, dict[str, type[Fields]]] = {
    "image": {"base64": _Base64Source, "url": _UrlSource},
    "document": {
        "base64": _Base64Source,
        "url": _UrlSource,
        "text": _TextSource,
        "content": _ContentSource,
    },
}
PLAIN_TYPES = ("text", "image", "document")
USER_TYPES = (*PLAIN_TYPES, "tool_result")
ASSISTANT_TYPES = (*PLAIN_TYPES, "tool_use", "thinking", "redacted_thinking")


class MessagesShape:
    name = "messages"

    def parse(self, body: bytes) -> Turn:
        request = read(_Request, body)
        conversation = Conversation()
        if request.system is not None:
            conversation.instruct(texts(request.system, "system"))
        ignored = {"max_tokens"}
        for index, message in enumerate(request.messages):
            field = f"messages.{index}"
            content = f"{field}.content"
            if message.role == "system":
                conversation.instruct(texts(message.content, content))
            else:
                blocks = _blocks(message.content, message.role, content)
                conversation.say(message.role, blocks, field)
            ignored |= without_effect(
                message.model_extra, silent=frozenset(), defaults={}, prefix="messages."
            )
        ignored |= without_effect(request.model_extra, silent=SILENT, defaults=DEFAULTS)
        return Turn(
            model=request.model,
            system=conversation.system,
            messages=conversation.messages(),
            stream=bool(request.stream),
            ignored=tuple(sorted(ignored)),
        )

    def encoder(self, turn: Turn) -> Encoder:
        return StreamEncoder() if turn.stream else DocumentEncoder()

    def status(self, error: BridgeError) -> int:
        return error.status

    def error_body(self, error: BridgeError) -> bytes:
        return error_body(error)


def _blocks(content: object, role: Role, field: str) -> Iterator[Block]:
    known = USER_TYPES if role == "user" else ASSISTANT_TYPES
    for part in parts(content, field):
        if part.type not in known:
            raise unknown(part, known)
        if part.type not in ("thinking", "redacted_thinking"):
            yield _block(part)


def _block(part: Part) -> Block:
    block = {k: v for k, v in part.value.items() if k not in ("cache_control", "citations")}
    match part.type:
        case "text":
            text_of(part)
        case "tool_use":
            check(_ToolUse, block, part.field)
        case "tool_result":
            result = check(_ToolResult, block, part.field)
            if isinstance(result.content, list):
                block["content"] = _plain_blocks(result.content, f"{part.field}.content")
            elif not isinstance(result.content, str | None):
                raise refused(f"{part.field}.content", "must be a string or a list of blocks")
        case _:
            _check_source(part)
    return block


def _plain_blocks(content: object, field: str) -> list[Block]:
    found = list(parts(content, field))
    for part in found:
        if part.type not in PLAIN_TYPES:
            raise unknown(part, PLAIN_TYPES)
    return [block for block in map(_block, found) if not is_blank(block)]


def _check_source(part: Part) -> None:
    source = check(_Sourced, part.value, part.field).source
    field = f"{part.field}.source"
    kind, known = source.get("type"), SOURCES[part.type]
    if not isinstance(kind, str) or kind not in known:
        word = shown(kind) if isinstance(kind, str) else "this value"
        rule = f"{word} is not a source this bridge can pass on; it can {', '.join(known)}"
        raise refused(f"{field}.type", rule)
    check(known[kind], source, field)
    if kind == "content":
        _plain_blocks(source["content"], f"{field}.content")
