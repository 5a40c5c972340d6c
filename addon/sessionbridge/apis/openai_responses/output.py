"""The items of a response's output, each with the events of its life
(https://platform.openai.com/docs/api-reference/responses-streaming).

An item is added, grows, and is done; what it is at the end is the same in a stream and in a
document.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal

from sessionbridge.answer import Answer
from sessionbridge.apis.common import free_text
from sessionbridge.model import Tool

Event = dict[str, Any]
Status = Literal["in_progress", "completed", "incomplete"]


class Item(ABC):
    """One item, whose content is a block of the `answer`. Its id is made of the answer's `tail` and
    the block; `index` is its place in the output."""

    prefix: str

    def __init__(self, answer: Answer, tail: str, block: int, index: int) -> None:
        self._answer = answer
        self._block = block
        self._id = f"{self.prefix}_{tail}_{block}"
        self._index = index

    def added(self) -> Iterator[Event]:
        item = self.value("in_progress")
        yield {"type": "response.output_item.added", "output_index": self._index, "item": item}

    def done(self, status: Status) -> Iterator[Event]:
        yield from self._whole()
        item = self.value(status)
        yield {"type": "response.output_item.done", "output_index": self._index, "item": item}

    @abstractmethod
    def value(self, status: Status) -> dict[str, Any]:
        """The item as the API tells it, without a content while that still grows."""

    @abstractmethod
    def grown(self, piece: str) -> Iterator[Event]:
        """What is told of one more piece."""

    @abstractmethod
    def _whole(self) -> Iterator[Event]:
        """What is told of the content before the item is done."""

    @property
    def _text(self) -> str:
        return self._answer.written(self._block)

    def _event(self, name: str, **fields: Any) -> Event:
        place = {"item_id": self._id, "output_index": self._index}
        return {"type": f"response.{name}", **place, **fields}


class SaidItem(Item):
    """A message of a single part."""

    prefix = "msg"

    def added(self) -> Iterator[Event]:
        yield from super().added()
        yield self._event("content_part.added", content_index=0, part=self._part(""))

    def value(self, status: Status) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self._part(self._text)]
        head = {"id": self._id, "type": "message", "status": status}
        return {**head, "role": "assistant", "content": content}

    def _whole(self) -> Iterator[Event]:
        yield self._event("content_part.done", content_index=0, part=self._part(self._text))

    @abstractmethod
    def _part(self, text: str) -> dict[str, Any]:
        """The part with this text."""


class MessageItem(SaidItem):
    """What the model has said."""

    def grown(self, piece: str) -> Iterator[Event]:
        yield self._event("output_text.delta", content_index=0, delta=piece, logprobs=[])

    def _whole(self) -> Iterator[Event]:
        yield self._event("output_text.done", content_index=0, text=self._text, logprobs=[])
        yield from super()._whole()

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


class RefusalItem(SaidItem):
    """Why the API has refused to go on."""

    def grown(self, piece: str) -> Iterator[Event]:
        yield self._event("refusal.delta", content_index=0, delta=piece)

    def _whole(self) -> Iterator[Event]:
        yield self._event("refusal.done", content_index=0, refusal=self._text)
        yield from super()._whole()

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "refusal", "refusal": text}


class ReasoningItem(Item):
    """What the model thought, as the one part of a summary. The API gives these no status."""

    prefix = "rs"

    def added(self) -> Iterator[Event]:
        yield from super().added()
        yield self._event("reasoning_summary_part.added", summary_index=0, part=_summary_text(""))

    def value(self, status: Status) -> dict[str, Any]:
        summary = [] if status == "in_progress" else [_summary_text(self._text)]
        return {"id": self._id, "type": "reasoning", "summary": summary}

    def grown(self, piece: str) -> Iterator[Event]:
        yield self._event("reasoning_summary_text.delta", summary_index=0, delta=piece)

    def _whole(self) -> Iterator[Event]:
        part = _summary_text(self._text)
        yield self._event("reasoning_summary_text.done", summary_index=0, text=self._text)
        yield self._event("reasoning_summary_part.done", summary_index=0, part=part)


class CallItem(Item):
    """A call of a tool."""

    def __init__(
        self, answer: Answer, tail: str, block: int, index: int, call_id: str, tool: Tool
    ) -> None:
        super().__init__(answer, tail, block, index)
        namespace = {} if tool.namespace is None else {"namespace": tool.namespace}
        self._call = {"call_id": call_id, "name": tool.called or tool.name, **namespace}

    def _head(self, kind: str, status: Status) -> dict[str, Any]:
        return {"id": self._id, "type": kind, "status": status, **self._call}


class FunctionCallItem(CallItem):
    prefix = "fc"

    def value(self, status: Status) -> dict[str, Any]:
        text = self._text if status == "in_progress" else self._arguments
        return {**self._head("function_call", status), "arguments": text}

    def grown(self, piece: str) -> Iterator[Event]:
        yield self._event("function_call_arguments.delta", delta=piece)

    def _whole(self) -> Iterator[Event]:
        if not self._text:
            yield from self.grown(self._arguments)
        yield self._event("function_call_arguments.done", arguments=self._arguments)

    @property
    def _arguments(self) -> str:
        return self._text or "{}"  # clients parse what they are given, and "" is no JSON


class CustomToolCallItem(CallItem):
    """The model writes JSON around the text, so the text is known only when the JSON is whole."""

    prefix = "ctc"

    def value(self, status: Status) -> dict[str, Any]:
        text = "" if status == "in_progress" else free_text.written(self._text)
        return {**self._head("custom_tool_call", status), "input": text}

    def grown(self, piece: str) -> Iterator[Event]:
        yield from ()

    def _whole(self) -> Iterator[Event]:
        text = free_text.written(self._text)
        if text:
            yield self._event("custom_tool_call_input.delta", delta=text)
        yield self._event("custom_tool_call_input.done", input=text)


def _summary_text(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
