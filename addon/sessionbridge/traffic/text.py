"""A conversation as plain text: who said what, and each call together with its result.

Whole texts are shown, however long; only the lines of `folded` are clipped. What is added to them
is ASCII: mitmproxy looks for control characters in what it shows, a hundred times more slowly in a
text that is not (2 s for 5 MB).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from sessionbridge.apis.common.json_values import Fields, fields, words
from sessionbridge.model import Block, Message, is_blank, parts_of
from sessionbridge.sessions.planning.lineage import alternating

Position = tuple[int, int]
"""Of a block: which message, and where in it."""

_WIDTH = 78
_CLIPPED = 80
_INDENTED = 20


def heading(title: str) -> str:
    return f"-- {title} ".ljust(_WIDTH, "-")


def joined(messages: Iterable[Message]) -> tuple[Message, ...]:
    """As the bridge takes them. Thoughts alone are no message: it leaves them out."""
    return tuple(alternating(message for message in messages if not _only_thinks(message)))


def _only_thinks(message: Message) -> bool:
    return all(block["type"] == "thinking" or is_blank(block) for block in message.blocks)


def conversation(messages: Sequence[Message], first: int = 0) -> Iterator[str]:
    """The messages from the `first` on, in paragraphs. A result whose call is shown stands there
    alone; one whose call is an earlier message's brings that along."""
    pairs = _pairs(messages)
    for number in range(first, len(messages)):
        message = messages[number]
        paragraphs = [
            _paragraph(messages, (number, position), pairs)
            for position in range(len(message.blocks))
            if not _is_shown_with_call(pairs.get((number, position)), (number, position), first)
        ]
        if paragraphs:
            yield heading(message.role)
            yield from paragraphs


def folded(messages: Sequence[Message]) -> Iterator[str]:
    """One line for each message: who, and how it begins."""
    for number, message in enumerate(messages, 1):
        begins = " ".join(map(_brief, message.blocks[:8]))
        yield f"{number:>5}  {message.role:<9}  {_clip(begins)}"


def _pairs(messages: Sequence[Message]) -> dict[Position, Position]:
    """From each call to its result and back. An id may be used again once it was answered."""
    found: dict[Position, Position] = {}
    waiting: dict[str, Position] = {}
    for number, message in enumerate(messages):
        for index, block in enumerate(message.blocks):
            position = (number, index)
            if block["type"] == "tool_use":
                waiting[block["id"]] = position
            elif block["type"] == "tool_result":
                call = waiting.pop(block["tool_use_id"], None)
                if call is not None:
                    found[call], found[position] = position, call
    return found


def _is_shown_with_call(partner: Position | None, position: Position, first: int) -> bool:
    return partner is not None and first <= partner[0] and partner < position


def _paragraph(
    messages: Sequence[Message], position: Position, pairs: dict[Position, Position]
) -> str:
    block, partner = _at(messages, position), pairs.get(position)
    if partner is None:
        return _shown(block)
    call, result = sorted((position, partner))
    return f"{_shown(_at(messages, call))}\n{_shown(_at(messages, result))}"


def _at(messages: Sequence[Message], position: Position) -> Block:
    return messages[position[0]].blocks[position[1]]


def _shown(block: Block) -> str:
    match block["type"]:
        case "text":
            return str(block["text"])
        case "thinking":
            return "(thinking)\n" + _quoted(block["thinking"] or "not shown by the API", "> ")
        case "tool_use":
            return f"-> call {block['name']} ({block['id']})\n{_quoted(_given(block['input']))}"
        case "tool_result":
            failed = " (the tool failed)" if block["is_error"] else ""
            content = "\n".join(map(_shown, parts_of(block))) or "(empty)"
            return f"<- result{failed}\n{_quoted(content)}"
        case _:
            return _placeholder(block)


def _given(value: object) -> str:
    """A call's input: JSON in lines, text of a free form as it is."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, indent=None if _is_deep(value) else 2, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "(nested too deeply to be shown)"


def _is_deep(value: object) -> bool:
    """Whether the spaces before its lines would be more than all else."""
    level = [value]
    for _ in range(_INDENTED):
        level = [child for node in level for child in _children(node)]
    return bool(level)


def _children(node: object) -> Iterable[object]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _quoted(text: str, mark: str = "    ") -> str:
    return mark + text.replace("\n", f"\n{mark}")


def _placeholder(block: Block) -> str:
    """What is no text, by its kind and size."""
    match block["type"]:
        case "image" | "document" as kind:
            told = [_file(kind, fields(block["source"])), words(block.get("title"))]
            return f"[{', '.join(filter(None, told))}]"
        case "item_reference":
            return f"[an earlier item of the conversation, {block['id']}]"
        case "unread":
            return f"[{block['kind']}, not read here]"
        case kind:
            return f"[{kind}]"


def _file(kind: str, source: Fields) -> str:
    data, media_type = words(source.get("data")), words(source.get("media_type")) or kind
    if data:
        size = len(data) * 3 // 4 if source.get("type") == "base64" else len(data)
        return f"{media_type}, {_size(size)}"
    return f"{kind}, {words(source.get('url')) or words(source.get('file_id')) or 'as text'}"


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def _brief(block: Block) -> str:
    """How a block begins, in one line."""
    match block["type"]:
        case "text":
            return " ".join(block["text"][: 4 * _CLIPPED].split())
        case "thinking":
            return "(thinking)"
        case "tool_use":
            return f"-> {block['name']}"
        case "tool_result":
            return f"<- {' '.join(map(_brief, parts_of(block)[:1]))}"
        case _:
            return _placeholder(block)


def _clip(line: str) -> str:
    return line if len(line) <= _CLIPPED else f"{line[: _CLIPPED - 3]}..."
