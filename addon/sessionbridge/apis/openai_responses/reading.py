"""Requests and answers of the Responses API, read as they are
(https://platform.openai.com/docs/api-reference/responses).

Every item of the types `…_call` and `…_call_output` is read as a call and its result, also of tools
that run at the API or inside a client. In a stream the last event repeats the whole output; where
it does not come, the items that were done and the pieces of those that were not tell the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sessionbridge.answer import Answer, Call
from sessionbridge.apis.common.json_values import Fields, count, fields, items, words
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
from sessionbridge.apis.openai_responses.tools import tool_name
from sessionbridge.model import (
    Block,
    Message,
    Said,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolInput,
    WholeBlock,
)

_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
# What the delta events bring pieces of; the last part of their name, without `.delta`.
_PIECES: Mapping[str, Callable[[int, str], Said]] = {
    "output_text": TextDelta,
    "refusal": TextDelta,
    "reasoning_summary_text": ThinkingDelta,
    "reasoning_text": ThinkingDelta,
    "function_call_arguments": ToolInput,
    "mcp_call_arguments": ToolInput,
    "custom_tool_call_input": ToolInput,
}
_CUSTOM = "custom_tool_call"
_PARTS = 1000  # more than an item has
# An item's own life, told again by `output_item.done`.
_STATES = ("added", "done", "in_progress", "searching", "interpreting", "generating", "completed")
_NOT_GIVEN = ("type", "id", "call_id", "status", "output", "result", "results")


def request(body: Fields, unread: Unread) -> RequestRead:
    system = [words(body.get("instructions"))]
    messages: list[Message] = []
    given = body.get("input")
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else items(given):
        role, blocks = _said(fields(item), unread)
        if role == "system":
            system += [block["text"] for block in blocks if block["type"] == "text"]
        elif blocks:
            messages.append(Message("assistant" if role == "assistant" else "user", blocks))
    tools = tuple(name for tool in items(body.get("tools")) for name in _names(fields(tool)))
    told = "\n\n".join(filter(None, system))
    return RequestRead(words(body.get("model")), told, tuple(messages), tools)


def document(body: Fields, unread: Unread) -> AnswerRead:
    answer = _Answer(unread)
    answer.end(body)
    return answer.told()


def stream(events: Iterable[Fields], unread: Unread) -> AnswerRead:
    answer = _Answer(unread)
    for event in events:
        answer.hear(event)
    return answer.told()


class _Answer:
    """What the events of one answer tell."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread
        self._response: Fields = {}
        self._answer = Answer()
        self._items: dict[int, _Item] = {}
        self._error: str | None = None

    def hear(self, event: Fields) -> None:
        kind = words(event.get("type"))
        name, _, what = kind.removeprefix("response.").rpartition(".")
        place = count(event.get("output_index"))
        if "response" in event:
            self.end(fields(event.get("response")))
        elif name == "output_item":
            self._begin(place, fields(event.get("item")))
        elif what == "delta" and name in _PIECES:
            self._grow(place, name, words(event.get("delta")))
        elif kind == "error":
            flat = {"type": event.get("code"), "message": event.get("message")}
            self._error = error_of(event) or error_of({"error": flat})
        elif what not in _STATES:
            self._unread.name("event", kind)

    def _begin(self, place: int, item: Fields) -> None:
        """One that is done tells all of itself, unless it was cut off: then what came of its words
        stays."""
        known = self._items.setdefault(place, _Item())
        whole = item.get("status") == "completed" or not known.grows
        known.kind = words(item.get("type"))
        blocks = _said({"role": "assistant", **item}, self._unread)[1]
        for index, block in enumerate(blocks, place * _PARTS):
            if whole or block["type"] == "tool_result":
                self._answer.hear(WholeBlock(index, block))
            elif block["type"] == "tool_use":
                self._answer.hear(ToolCall(index, block["id"], block["name"]))
        for index in range(place * _PARTS + len(blocks), known.end if whole else 0):
            self._answer.forget(index)
        known.end = max(known.end, place * _PARTS + len(blocks))

    def _grow(self, place: int, name: str, piece: str) -> None:
        known = self._items.setdefault(place, _Item())
        known.grows = known.grows or piece != ""
        self._answer.hear(_PIECES[name](place * _PARTS, piece))

    def end(self, response: Fields) -> None:
        """Takes the response as it is now; later ones replace it."""
        self._response = response
        self._error = self._error or error_of(response)

    def told(self) -> AnswerRead:
        response = self._response
        output = items(response.get("output"))
        if len(output) >= len(self._items):  # one that failed leaves out what was not done
            said = [block for item in output for block in _said(fields(item), self._unread)[1]]
        else:
            said = [*self._answer.blocks(self._input).values()]
        details = fields(response.get("incomplete_details"))
        return AnswerRead(
            tuple(said),
            words(response.get("model")),
            words(details.get("reason")) or words(response.get("status")),
            openai_usage(response.get("usage"), "input_tokens", "output_tokens"),
            self._error,
        )

    def _input(self, call: Call) -> object:
        kind = self._items[call.block // _PARTS].kind
        return {"input": call.written} if kind == _CUSTOM else arguments(call.written)


@dataclass(slots=True)
class _Item:
    """What is known of an item: whether pieces of it have come, and where its blocks end."""

    kind: str = "message"
    grows: bool = False
    end: int = 0


def _said(item: Fields, unread: Unread) -> tuple[str, tuple[Block, ...]]:
    """Who says an item, and what; the role `system` stands for all instructions."""
    kind, role = words(item.get("type")) or _untyped(item), words(item.get("role"))
    if kind == "message":
        role = "system" if role == "developer" else role
        if role not in ("user", "assistant", "system"):
            unread.name("message of the role", role)
        return role, tuple(blocks_of(item.get("content"), unread, _block))
    if kind == "reasoning":
        thoughts = [*items(item.get("summary")), *items(item.get("content"))]
        texts = [words(fields(part).get("text")) for part in thoughts]
        return "assistant", (thinking("\n\n".join(filter(None, texts))),)
    if kind == "item_reference":
        return "assistant", ({"type": "item_reference", "id": words(item.get("id"))},)
    if kind.endswith("_call_output"):
        content = [*blocks_of(item.get("output"), unread, _block)]
        return "user", (result(allowed(words(item.get("call_id"))), content),)
    if kind.endswith("_call"):
        return "assistant", tuple(_call(kind, item))
    return role, (unread.block(kind),)


def _untyped(item: Fields) -> str:
    return "item_reference" if "id" in item and "role" not in item else "message"


def _call(kind: str, item: Fields) -> Iterator[Block]:
    """A call; one that has run already brings its own result."""
    id_ = allowed(words(item.get("call_id")) or words(item.get("id")))
    name = words(item.get("name")) or kind.removesuffix("_call")
    namespace = words(item.get("namespace")) or None
    yield call(id_, tool_name(name, namespace), _given(kind, item))
    if output := words(item.get("output")):
        yield result(id_, [text(output)])


def _given(kind: str, item: Fields) -> object:
    if "arguments" in item:
        written = item["arguments"]
        return arguments(written) if isinstance(written, str) else written
    if kind == _CUSTOM:
        return {"input": words(item.get("input"))}
    return {name: value for name, value in item.items() if name not in _NOT_GIVEN}


def _block(part: Fields, unread: Unread) -> Block:
    match part:
        case {"type": kind, "text": str(said)} if kind in _TEXTS:
            return text(said)
        case {"type": "refusal", "refusal": str(said)}:
            return text(said)
        case {"type": "input_image", "image_url": str(url)}:
            return image(url)
        case {"type": "input_image", "file_id": str(file_id)}:
            return upload("image", file_id)
        case {"type": "input_file", "file_url": str(url)} | {
            "type": "input_file",
            "file_data": str(url),
        }:
            return document_of(url, words(part.get("filename")))
        case {"type": "input_file", "file_id": str(file_id)}:
            return upload("document", file_id)
        case _:
            return unread.block(part.get("type"))


def _names(tool: Fields) -> Iterator[str]:
    """A namespace's tools by the names the model knows them by."""
    if tool.get("type") != "namespace":
        yield from names_of([tool])
        return
    for name in names_of(tool.get("tools")):
        yield tool_name(name, words(tool.get("name")))
