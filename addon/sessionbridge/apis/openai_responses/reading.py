"""Requests and answers of the Responses API, read as they are
(https://platform.openai.com/docs/api-reference/responses).

Every item of the types `…_call` and `…_call_output` is read as a call and its result, also of tools
that run at the API or inside a client. In a stream the last event repeats the whole output; where
it does not come, the items that were done and the pieces of those that were not tell the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sessionbridge.apis.common.json_values import Fields, count, fields, items, words
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
from sessionbridge.apis.openai_responses.tools import tool_name
from sessionbridge.model import Block, Message

_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
# What the delta events bring pieces of; the last part of their name, without `.delta`.
_PIECES = {
    "output_text": "text",
    "refusal": "text",
    "reasoning_summary_text": "text",
    "reasoning_text": "text",
    "function_call_arguments": "arguments",
    "mcp_call_arguments": "arguments",
    "custom_tool_call_input": "input",
}
# An item's own life, told again by `output_item.done`.
_STATES = ("added", "done", "in_progress", "searching", "interpreting", "generating", "completed")
_NOT_GIVEN = ("type", "id", "call_id", "status", "output", "result", "results")


def request(body: Fields, unread: Unread) -> Asked:
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
    return Asked(words(body.get("model")), told, tuple(messages), tools)


def document(body: Fields, unread: Unread) -> Told:
    answer = _Answer(unread)
    answer.end(body)
    return answer.told()


def stream(events: Iterable[Fields], unread: Unread) -> Told:
    answer = _Answer(unread)
    for event in events:
        answer.hear(event)
    return answer.told()


class _Answer:
    """The fold of the events of one answer."""

    def __init__(self, unread: Unread) -> None:
        self._unread = unread
        self._response: Fields = {}
        self._items: dict[int, _Growing] = {}
        self._error: str | None = None

    def hear(self, event: Fields) -> None:
        kind = words(event.get("type"))
        name, _, what = kind.removeprefix("response.").rpartition(".")
        place = count(event.get("output_index"))
        if "response" in event:
            self.end(fields(event.get("response")))
        elif name == "output_item":
            self._items.setdefault(place, _Growing()).item = fields(event.get("item"))
        elif what == "delta" and name in _PIECES:
            growing = self._items.setdefault(place, _Growing())
            growing.pieces.setdefault(_PIECES[name], []).append(words(event.get("delta")))
        elif kind == "error":
            flat = {"type": event.get("code"), "message": event.get("message")}
            self._error = error_of(event) or error_of({"error": flat})
        elif what not in _STATES:
            self._unread.name("event", kind)

    def end(self, response: Fields) -> None:
        """Takes the response as it is now; later ones replace it."""
        self._response = response
        self._error = self._error or error_of(response)

    def told(self) -> Told:
        response = self._response
        grown = [self._items[place].whole() for place in sorted(self._items)]
        output = items(response.get("output"))
        if len(output) < len(grown):  # one that failed leaves out what was not done
            output = grown
        details = fields(response.get("incomplete_details"))
        return Told(
            tuple(block for item in output for block in _said(fields(item), self._unread)[1]),
            words(response.get("model")),
            words(details.get("reason")) or words(response.get("status")),
            openai_usage(response.get("usage"), "input_tokens", "output_tokens"),
            self._error,
        )


class _Growing:
    """An item as it was told last, and the pieces that were added to it."""

    def __init__(self) -> None:
        self.item: Fields = {}
        self.pieces: dict[str, list[str]] = {}

    def whole(self) -> Fields:
        if self.item.get("status") == "completed" or not self.pieces:
            return self.item
        grown: dict[str, object] = {name: "".join(some) for name, some in self.pieces.items()}
        if said := grown.pop("text", None):
            field = "summary" if self.item.get("type") == "reasoning" else "content"
            grown[field] = [{"type": "text", "text": said}]
        return {"type": "message", "role": "assistant", **self.item, **grown}


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
        return "assistant", ({"type": kind, "id": words(item.get("id"))},)
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
    if kind == "custom_tool_call":
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
