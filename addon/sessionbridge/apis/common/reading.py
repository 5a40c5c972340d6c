"""What the readers of all APIs give, and the blocks they build.

Blocks are `turn.Block`s with every field of the right kind. What no reader knows becomes a block of
the type `unread`, and its name is noted: nothing disappears without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from sessionbridge.apis.common.json_values import Fields, count, fields, items, load_cut, words
from sessionbridge.model import Block, Message, Usage
from sessionbridge.names import shown


@dataclass(frozen=True, slots=True)
class RequestRead:
    """What a request says."""

    model: str
    system: str
    messages: tuple[Message, ...]
    tools: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerRead:
    """What an answer says."""

    answer: tuple[Block, ...] = ()
    model: str = ""
    stop: str = ""
    usage: Usage | None = None
    error: str | None = None


class Unread:
    """The names of what was not understood, each once."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}  # for its order

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def note(self, name: str) -> None:
        self._names[name] = None

    def name(self, what: str, kind: object) -> None:
        self.note(f"{what} {shown(words(kind))}")

    def block(self, kind: object) -> Block:
        """Stands where something was that is not understood."""
        self.name("content of type", kind)
        return {"type": "unread", "kind": shown(words(kind))}


def blocks_of(
    content: object, unread: Unread, block: Callable[[Fields, Unread], Block]
) -> Iterator[Block]:
    """What a message says: one text, or parts, each of which `block` reads."""
    if content and isinstance(content, str):
        yield text(content)
    for part in map(fields, items(content)):
        yield block(part, unread)


def text(said: str) -> Block:
    return {"type": "text", "text": said}


def thinking(thought: str) -> Block:
    """A thought; one that only the API can read is empty."""
    return {"type": "thinking", "thinking": thought}


def image(url: str) -> Block:
    return {"type": "image", "source": _source(url)}


def document_of(url: str, title: str) -> Block:
    return {"type": "document", "source": _source(url), "title": title or None}


def upload(kind: Literal["image", "document"], file_id: str) -> Block:
    """An image or document that the API keeps."""
    return {"type": kind, "source": {"type": "file", "file_id": file_id}}


def call(id_: str, name: str, given: object) -> Block:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def arguments(written: str) -> object:
    """What a call is given, from its JSON text; clients spell nothing as "" too."""
    return load_cut(written) if written.strip() else {}


def result(id_: str, content: Iterable[Block], *, failed: bool = False) -> Block:
    return {"type": "tool_result", "tool_use_id": id_, "content": [*content], "is_error": failed}


def openai_usage(value: object, asked: str, answered: str) -> Usage | None:
    """Both OpenAI APIs count cached tokens among those of the prompt, and name the two fields
    `asked` and `answered` differently."""
    told = fields(value)
    if not told:
        return None
    details = fields(told.get(f"{asked}_details"))
    read, written = count(details.get("cached_tokens")), count(details.get("cache_write_tokens"))
    fresh = max(0, count(told.get(asked)) - read - written)
    return Usage(fresh, count(told.get(answered)), written, read)


def error_of(body: Fields) -> str | None:
    """`type: message` of an error in any of the ways that servers of these APIs spell it."""
    match body.get("error"):
        case str() as message if message:
            return message
        case dict() as told:
            kind = words(told.get("type")) or words(told.get("code"))
            return ": ".join(filter(None, (kind, words(told.get("message"))))) or "error"
    return words(body.get("detail")) or None


def names_of(tools: object) -> tuple[str, ...]:
    """The names of tools; one that has none is told by its type, as those an API runs itself."""
    return tuple(name for tool in items(tools) if (name := _name(fields(tool))))


def _name(tool: Fields) -> str:
    kind = words(tool.get("type"))
    inner = fields(tool.get(kind)) if kind in ("function", "custom") else {}
    return words(inner.get("name")) or words(tool.get("name")) or kind


def _source(url: str) -> dict[str, str]:
    head, comma, data = url.partition(",")
    if not (comma and head[:5].lower() == "data:"):
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": head[5:].partition(";")[0].lower(), "data": data}
