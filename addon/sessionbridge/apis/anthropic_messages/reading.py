"""Requests and answers of the Messages API, read as they are
(https://docs.anthropic.com/en/api/messages).

Tools that run at the API have call and result in one answer; they are read like the client's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

from sessionbridge.answer import Answer
from sessionbridge.apis.anthropic_messages.answer import PIECES
from sessionbridge.apis.common.json_values import Fields, count, fields, items, words
from sessionbridge.apis.common.reading import (
    AnswerRead,
    RequestRead,
    Unread,
    arguments,
    blocks_of,
    call,
    error_of,
    names_of,
    result,
    text,
    thinking,
)
from sessionbridge.model import (
    Block,
    Message,
    Said,
    TextDelta,
    ThinkingDelta,
    ToolInput,
    Usage,
    WholeBlock,
)

_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
_SILENT = ("content_block_stop", "message_stop", "ping")
# All but the signatures, which are nothing to read.
_DELTAS: Mapping[str, Callable[[int, str], Said]] = {
    "text_delta": TextDelta,
    "thinking_delta": ThinkingDelta,
    "input_json_delta": ToolInput,
}
# There are servers that leave out what is empty at the beginning.
_EMPTY: Mapping[str, Fields] = {
    "text": {"text": ""},
    "thinking": {"thinking": ""},
    **dict.fromkeys(_CALLS, {"input": {}}),
}


def request(body: Fields, unread: Unread) -> RequestRead:
    system = [*_texts(body.get("system"), unread)]
    messages: list[Message] = []
    for message in map(fields, items(body.get("messages"))):
        match message.get("role"):
            case "user" | "assistant" as role:
                if said := blocks(message.get("content"), unread):
                    messages.append(Message(role, said))
            case "system":
                system += _texts(message.get("content"), unread)
            case role:
                unread.name("message of the role", role)
    tools = names_of(body.get("tools"))
    return RequestRead(words(body.get("model")), "\n\n".join(system), tuple(messages), tools)


def document(body: Fields, unread: Unread) -> AnswerRead:
    answer = _Answer(unread)
    answer.begin(body)
    answer.end(body, body)
    answer.error = error_of(body)
    for block in blocks(body.get("content"), unread):
        answer.add(block)
    return answer.told()


def stream(events: Iterable[Fields], unread: Unread) -> AnswerRead:
    answer = _Answer(unread)
    for event in events:
        answer.hear(event)
    return answer.told()


class _Answer:
    """What the events of one answer tell. What is told later replaces what was told before."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread
        self._head: Fields = {}
        self._stop = ""
        self._usage: dict[str, object] = {}
        self._answer = Answer()
        self._blocks = 0
        self.error: str | None = None

    def hear(self, event: Fields) -> None:
        match event.get("type"):
            case "message_start":
                self.begin(fields(event.get("message")))
            case "content_block_start":
                start = fields(event.get("content_block"))
                empty = _EMPTY.get(words(start.get("type")), {})
                missing = {name: empty[name] for name in empty if start.get(name) is None}
                self.add(_block({**start, **missing}, self._unread))
            case "content_block_delta":
                self._grow(event.get("index"), fields(event.get("delta")))
            case "message_delta":
                self.end(fields(event.get("delta")), event)
            case "error":
                self.error = self.error or error_of(event)
            case kind if kind not in _SILENT:
                self._unread.name("event", kind)

    def begin(self, message: Fields) -> None:
        self._head = message
        self._usage |= fields(message.get("usage"))

    def end(self, delta: Fields, event: Fields) -> None:
        self._stop = words(delta.get("stop_reason")) or self._stop
        told = fields(event.get("usage"))
        self._usage |= {name: told[name] for name in told if self._is_news(name, told[name])}

    def _is_news(self, name: str, told: object) -> bool:
        """Nothing told takes nothing back, as in the official client, and of the prompt nor does a
        count of none: there are servers that fill in what they leave out."""
        counts = fields(told).values() if isinstance(told, dict) else (told,)
        return told is not None and (
            any(counts) or name == "output_tokens" or name not in self._usage
        )

    def add(self, block: Block) -> None:
        self._answer.hear(WholeBlock(self._blocks, block))
        self._blocks += 1

    def _grow(self, index: object, delta: Fields) -> None:
        kind = words(delta.get("type"))
        if kind not in PIECES or not self._blocks:
            self._unread.name("delta", kind)
            return
        piece = words(delta.get(PIECES[kind]))
        if kind in _DELTAS:
            self._answer.hear(_DELTAS[kind](min(count(index), self._blocks - 1), piece))

    def told(self) -> AnswerRead:
        model = words(self._head.get("model"))
        answer = self._answer.blocks(lambda call: arguments(call.written)).values()
        return AnswerRead(tuple(answer), model, self._stop, _usage(self._usage), self.error)


def blocks(content: object, unread: Unread) -> tuple[Block, ...]:
    return tuple(blocks_of(content, unread, _block))


def _block(part: Fields, unread: Unread) -> Block:
    match part:
        case {"type": str(kind), "tool_use_id": str(id_)} if kind.endswith("tool_result"):
            content = tuple(blocks_of(part.get("content"), unread, _part))
            return result(id_, content, failed=part.get("is_error") is True)
        case _:
            return _part(part, unread)


def _part(part: Fields, unread: Unread) -> Block:
    """What may also stand within a result; there is no result in another."""
    match part:
        case {"type": "text", "text": str(said)}:
            return text(said)
        case {"type": "thinking", "thinking": str(thought)}:
            return thinking(thought)
        case {"type": "redacted_thinking"}:
            return thinking("")
        case {"type": "compaction", "content": str(summary)}:
            return text(summary)
        case {"type": "image" | "document", "source": dict()}:
            return cast("Block", {name: part[name] for name in _FILE if name in part})
        case {"type": kind, "id": str(id_), "name": str(name)} if kind in _CALLS:
            return call(id_, name, part.get("input"))
        case _:
            return unread.block(part.get("type"))


_FILE = ("type", "source", "title", "context")


def _texts(content: object, unread: Unread) -> Iterator[str]:
    for block in blocks(content, unread):
        if block["type"] == "text":
            yield block["text"]


def _usage(told: Fields) -> Usage | None:
    if not told:
        return None
    return Usage(
        count(told.get("input_tokens")),
        count(told.get("output_tokens")),
        count(told.get("cache_creation_input_tokens")),
        count(told.get("cache_read_input_tokens")),
        count(fields(told.get("cache_creation")).get("ephemeral_1h_input_tokens")),
    )
