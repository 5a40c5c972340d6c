"""Requests and answers of the Chat Completions API, read as they are
(https://platform.openai.com/docs/api-reference/chat).

Many servers speak it with fields of their own; `reasoning_content` and `reasoning` are what the
model thought. The API has no order of text and calls, so thoughts come first and calls last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count as numbers

from sessionbridge.answer import Answer, Call
from sessionbridge.apis.common.json_values import Fields, fields, items, words
from sessionbridge.apis.common.reading import (
    AnswerRead,
    RequestRead,
    Unread,
    arguments,
    blocks_of,
    call,
    document_of,
    error_of,
    image,
    names_of,
    openai_usage,
    result,
    text,
    thinking,
    upload,
)
from sessionbridge.apis.common.tools import allowed
from sessionbridge.model import (
    Block,
    Message,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolInput,
    WholeBlock,
)

_THOUGHTS = ("reasoning_content", "reasoning")
_WRITTEN = {"function": "arguments", "custom": "input"}
# The places of an answer's blocks: the API tells no order.
_THOUGHT, _TEXT, _OTHERS, _CALLS = 0, 1, 2, 1_000_000


def request(body: Fields, unread: Unread) -> RequestRead:
    history = _History(unread)
    for message in map(fields, items(body.get("messages"))):
        history.add(message)
    tools = names_of([*items(body.get("tools")), *items(body.get("functions"))])
    system = "\n\n".join(history.system)
    return RequestRead(words(body.get("model")), system, tuple(history.messages), tools)


def document(body: Fields, unread: Unread) -> AnswerRead:
    answer = _Answer(unread)
    answer.hear(body, "message")
    return answer.told()


def stream(events: Iterable[Fields], unread: Unread) -> AnswerRead:
    answer = _Answer(unread)
    for event in events:
        answer.hear(event, "delta")
    return answer.told()


class _History:
    """Takes the messages in order. Calls of the older kind have no id and are numbered."""

    def __init__(self, unread: Unread) -> None:
        self.system: list[str] = []
        self.messages: list[Message] = []
        self._unread = unread
        self._numbers = numbers(1)
        self._function = ""

    def add(self, message: Fields) -> None:
        content = [*blocks_of(message.get("content"), self._unread, _block)]
        match message.get("role"):
            case "system" | "developer":
                self.system += [block["text"] for block in content if block["type"] == "text"]
            case "user":
                self._say(Message("user", tuple(content)))
            case "assistant":
                self._say(Message("assistant", (*content, *self._calls(message))))
            case "tool":
                id_ = allowed(words(message.get("tool_call_id")))
                self._say(Message("user", (result(id_, content),)))
            case "function":
                self._say(Message("user", (result(self._function, content),)))
            case role:
                self._unread.name("message of the role", role)

    def _say(self, message: Message) -> None:
        if message.blocks:
            self.messages.append(message)

    def _calls(self, message: Fields) -> Iterator[Block]:
        if refusal := words(message.get("refusal")):
            yield text(refusal)
        for made in map(fields, items(message.get("tool_calls"))):
            yield _call(allowed(words(made.get("id"))), made, self._unread)
        if older := fields(message.get("function_call")):
            self._function = f"function_call_{next(self._numbers)}"
            yield _call(self._function, {"function": older}, self._unread)


class _Answer:
    """What the pieces of one answer tell; a document's message is the one piece of it."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread
        self._head: Fields = {}
        self._stop = ""
        self._usage: object = None
        self._error: str | None = None
        self._answer = Answer()
        self._others = numbers(_OTHERS)
        self._calls: dict[int, _Call] = {}

    def hear(self, chunk: Fields, field: str) -> None:
        """`field` is what the API calls a piece of the answer here."""
        self._head = self._head if self._head.get("id") else chunk
        self._usage = chunk.get("usage") or self._usage
        self._error = self._error or error_of(chunk)
        choices = items(chunk.get("choices"))
        for choice in map(fields, choices):
            if choice.get("index") in (0, None):
                self._stop = words(choice.get("finish_reason")) or self._stop
                self._add(fields(choice.get(field)))
            else:
                self._unread.note("choices after the first")
        if "choices" not in chunk and not (chunk.get("usage") or self._error):
            self._unread.name("event", chunk.get("object"))

    def _add(self, delta: Fields) -> None:
        # Some servers give the same thought under both names.
        thoughts = filter(None, (words(delta.get(name)) for name in _THOUGHTS))
        self._answer.hear(ThinkingDelta(_THOUGHT, next(thoughts, "")))
        for block in blocks_of(delta.get("content"), self._unread, _block):
            if block["type"] == "text":
                self._answer.hear(TextDelta(_TEXT, block["text"]))
            else:
                self._answer.hear(WholeBlock(next(self._others), block))
        self._answer.hear(TextDelta(_TEXT, words(delta.get("refusal"))))
        for call_piece in map(fields, items(delta.get("tool_calls"))):
            self._grow(call_piece)
        if older := fields(delta.get("function_call")):
            self._grow({"index": 0, "function": older})
        if delta.get("audio"):
            self._unread.name("content of type", "audio")

    def _grow(self, piece: Fields) -> None:
        index = piece.get("index")
        if not isinstance(index, int):  # servers that send a call in one piece may leave it out
            index = len(self._calls) if piece.get("id") else max(self._calls, default=0)
        known = self._calls.setdefault(index, _Call(_CALLS + index))
        made = known.hear(piece)
        self._answer.hear(ToolCall(known.block, known.id, known.name))
        self._answer.hear(ToolInput(known.block, made))

    def told(self) -> AnswerRead:
        return AnswerRead(
            tuple(self._answer.blocks(self._input).values()),
            words(self._head.get("model")),
            self._stop,
            openai_usage(self._usage, "prompt_tokens", "completion_tokens"),
            self._error,
        )

    def _input(self, call: Call) -> object:
        custom = self._calls[call.block - _CALLS].kind == "custom"
        return call.written if custom else arguments(call.written)


class _Call:
    """What is known of a call. Some servers tell its id or name with a later piece."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.id = self.name = ""
        self.kind = "function"

    def hear(self, piece: Fields) -> str:
        """More of what it was made with."""
        self.id = self.id or allowed(words(piece.get("id")))
        self.kind = "custom" if "custom" in piece else self.kind
        made = fields(piece.get(self.kind))
        self.name = self.name or words(made.get("name"))
        return words(made.get(_WRITTEN[self.kind]))


def _call(id_: str, made: Fields, unread: Unread) -> Block:
    match made:
        case {"custom": {"name": str(name), "input": str(given)}}:
            return call(id_, name, given)
        case {"function": {"name": str(name), **function}}:
            return call(id_, name, arguments(words(function.get("arguments"))))
        case _:
            return unread.block(made.get("type"))


def _block(part: Fields, unread: Unread) -> Block:
    match part:
        case {"type": "text", "text": str(said)} | {"type": "refusal", "refusal": str(said)}:
            return text(said)
        case {"type": "thinking", "thinking": thought}:
            return thinking("".join(words(fields(piece).get("text")) for piece in items(thought)))
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return image(url)
        case {"type": "file", "file": {"file_data": str(data), **file}}:
            return document_of(data, words(file.get("filename")))
        case {"type": "file", "file": {"file_id": str(file_id)}}:
            return upload("document", file_id)
        case _:
            return unread.block(part.get("type"))
