"""The content blocks of a Messages request: checked, and passed as they are (see
`anthropic_messages`)."""

from __future__ import annotations

from typing import Any

from sessionbridge.apis.body import Fields, NotBlank, check, refused, shown
from sessionbridge.apis.content import Part, parts, text_of, unknown
from sessionbridge.apis.conversation import is_blank
from sessionbridge.turn import Block, Role


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


class _Thinking(Fields):
    thinking: str
    signature: str = ""


class _Redacted(Fields):
    data: NotBlank


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
THOUGHTS: dict[str, type[Fields]] = {"thinking": _Thinking, "redacted_thinking": _Redacted}
PLAIN_TYPES = ("text", "image", "document")
USER_TYPES = (*PLAIN_TYPES, "tool_result")
ASSISTANT_TYPES = (*PLAIN_TYPES, "tool_use", *THOUGHTS)


def blocks(content: object, role: Role, field: str, *, thinking: bool) -> list[Block]:
    """The blocks of a message; those of thinking only where this request has `thinking` on."""
    known = USER_TYPES if role == "user" else ASSISTANT_TYPES
    told: list[Block] = []
    says_something = False
    for part in parts(content, field):
        if part.type not in known:
            raise unknown(part, known)
        if part.type not in THOUGHTS:
            told.append(_block(part))
            says_something = says_something or not is_blank(told[-1])
        elif thinking and _is_signed(part):
            told.append(_block(part))
    # An answer that was cut while the model thought has said nothing.
    return told if says_something else []


def _is_signed(part: Part) -> bool:
    """A thought that was cut short has no signature, and the API takes none back without."""
    thought = check(THOUGHTS[part.type], part.value, part.field)
    return not isinstance(thought, _Thinking) or bool(thought.signature)


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
        case "image" | "document":
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
