"""Requests and answers of the Chat Completions API, read as they are
(https://platform.openai.com/docs/api-reference/chat).

Many servers speak it with fields of their own; `reasoning_content` and `reasoning` are what the
model thought. The API has no order of text and calls, so thoughts come first and calls last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count as numbers

from sessionbridge.apis.common.json_values import Fields, fields, items, words
from sessionbridge.apis.common.reading import (
    Asked,
    Told,
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
from sessionbridge.model import Block, Message

_THOUGHTS = ("reasoning_content", "reasoning")
_WRITTEN = {"function": "arguments", "custom": "input"}


def request(body: Fields, unread: Unread) -> Asked:
    history = _History(unread)
    for message in map(fields, items(body.get("messages"))):
        history.add(message)
    tools = names_of([*items(body.get("tools")), *items(body.get("functions"))])
    system = "\n\n".join(history.system)
    return Asked(words(body.get("model")), system, tuple(history.messages), tools)


def document(body: Fields, unread: Unread) -> Told:
    answer = _Answer(unread)
    answer.hear(body, "message")
    return answer.told()


def stream(events: Iterable[Fields], unread: Unread) -> Told:
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
    """The fold of the deltas of one answer; a document's message is the one delta of it."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread
        self._head: Fields = {}
        self._stop = ""
        self._usage: object = None
        self._error: str | None = None
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self._others: list[Block] = []
        self._calls: dict[int, _Growing] = {}

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
        self._thoughts += [next(thoughts, "")]
        for block in blocks_of(delta.get("content"), self._unread, _block):
            if block["type"] == "text":
                self._texts.append(block["text"])
            else:
                self._others.append(block)
        self._texts.append(words(delta.get("refusal")))
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
        self._calls.setdefault(index, _Growing()).add(piece)

    def told(self) -> Told:
        thoughts, texts = "".join(self._thoughts), "".join(self._texts)
        said = [thinking(thoughts)] if thoughts else []
        said += [text(texts)] if texts else []
        said += self._others
        said += [made.whole(self._unread) for made in self._calls.values()]
        return Told(
            tuple(said),
            words(self._head.get("model")),
            self._stop,
            openai_usage(self._usage, "prompt_tokens", "completion_tokens"),
            self._error,
        )


class _Growing:
    """A call, in pieces."""

    def __init__(self) -> None:
        self._id = self._name = ""
        self._kind = "function"
        self._pieces: list[str] = []

    def add(self, piece: Fields) -> None:
        self._id = self._id or allowed(words(piece.get("id")))
        self._kind = "custom" if "custom" in piece else self._kind
        made = fields(piece.get(self._kind))
        self._name = self._name or words(made.get("name"))
        self._pieces.append(words(made.get(_WRITTEN[self._kind])))

    def whole(self, unread: Unread) -> Block:
        made = {"name": self._name, _WRITTEN[self._kind]: "".join(self._pieces)}
        return _call(self._id, {self._kind: made}, unread)


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
