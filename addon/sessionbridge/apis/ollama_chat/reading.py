"""Requests and answers of Ollama's chat API, read as they are (https://docs.ollama.com/api/chat).

The API has no order of text and calls, so thoughts come first and calls last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sessionbridge.apis.common.json_values import Fields, count, fields, items, words
from sessionbridge.apis.common.reading import (
    AnswerRead,
    RequestRead,
    Unread,
    blocks_of,
    call,
    error_of,
    image,
    names_of,
    result,
    text,
    thinking,
)
from sessionbridge.apis.common.tools import allowed
from sessionbridge.apis.ollama_chat.messages import IMAGES
from sessionbridge.apis.ollama_chat.open_calls import OpenCalls
from sessionbridge.model import Block, Message, Usage


def request(body: Fields, unread: Unread) -> RequestRead:
    history = _History(unread)
    for message in map(fields, items(body.get("messages"))):
        history.add(message)
    tools = names_of(body.get("tools"))
    system = "\n\n".join(history.system)
    return RequestRead(words(body.get("model")), system, tuple(history.messages), tools)


def document(body: Fields, unread: Unread) -> AnswerRead:
    return stream([body], unread)


def stream(events: Iterable[Fields], unread: Unread) -> AnswerRead:
    """A document is the one message of a stream that tells all."""
    last: Fields = {}
    error: str | None = None
    model, thoughts, said = "", [""], [""]
    calls: list[Block] = []
    for event in events:
        error = error or error_of(event)
        if "message" not in event:
            if not error:
                unread.name("event", event.get("type"))
            continue
        message = fields(event.get("message"))
        model = words(event.get("model")) or model
        last = event if event.get("done") else last
        thoughts.append(words(message.get("thinking")))
        said.append(words(message.get("content")))
        calls += _calls(message, unread)
    whole = [thinking("".join(thoughts)), text("".join(said))]
    blocks = [block for block in whole if any((block.get("thinking"), block.get("text")))]
    stop = words(last.get("done_reason"))
    return AnswerRead((*blocks, *calls), model, stop, _usage(last), error)


def _usage(last: Fields) -> Usage | None:
    if not {"prompt_eval_count", "eval_count"} & last.keys():
        return None
    return Usage(count(last.get("prompt_eval_count")), count(last.get("eval_count")))


def _calls(message: Fields, unread: Unread) -> Iterator[Block]:
    for made in map(fields, items(message.get("tool_calls"))):
        yield _call(allowed(words(made.get("id"))), made, unread)


def _call(id_: str, made: Fields, unread: Unread) -> Block:
    function = fields(made.get("function"))
    if not (name := words(function.get("name"))):
        return unread.block("tool_calls")
    return call(id_, name, fields(function.get("arguments")))


class _History:
    """Takes the messages in order; calls and results are matched as the bridge does."""

    def __init__(self, unread: Unread) -> None:
        self.system: list[str] = []
        self.messages: list[Message] = []
        self._unread = unread
        self._open = OpenCalls()

    def add(self, message: Fields) -> None:
        content = [*blocks_of(message.get("content"), self._unread, _block)]
        match message.get("role"):
            case "system":
                self.system += [block["text"] for block in content if block["type"] == "text"]
            case "user":
                self._say(Message("user", (*content, *self._images(message))))
            case "assistant":
                self._say(Message("assistant", (*content, *self._made(message))))
            case "tool":
                self._say(Message("user", (result(self._answered(message), content),)))
            case role:
                self._unread.name("message of the role", role)

    def _say(self, message: Message) -> None:
        if message.blocks:
            self.messages.append(message)

    def _images(self, message: Fields) -> Iterator[Block]:
        for data in map(words, items(message.get("images"))):
            kinds = (kind for start, kind in IMAGES.items() if data.startswith(start))
            yield image(f"data:{next(kinds, '')};base64,{data}")

    def _made(self, message: Fields) -> Iterator[Block]:
        self._open.clear()
        for made in map(fields, items(message.get("tool_calls"))):
            name = words(fields(made.get("function")).get("name"))
            yield _call(self._open.add(allowed(words(made.get("id"))), name), made, self._unread)

    def _answered(self, message: Fields) -> str:
        name = words(message.get("tool_name")) or words(message.get("name"))
        return self._open.answered(allowed(words(message.get("tool_call_id"))), name) or ""


def _block(part: Fields, unread: Unread) -> Block:
    match part:
        case {"type": "text", "text": str(said)}:
            return text(said)
        case _:
            return unread.block(part.get("type"))
