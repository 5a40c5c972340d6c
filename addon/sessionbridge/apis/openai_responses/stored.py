"""Responses that were given before, as the API tells them by their ids
(https://platform.openai.com/docs/api-reference/responses/get, …/input-items): the document that
they were answered with, and the items of their input.

Both are made of what was said. The JSON of a call's arguments has the same values, not always the
same blanks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessionbridge.apis.common import free_text
from sessionbridge.apis.openai_responses.answer import Events
from sessionbridge.apis.openai_responses.request import turn_of
from sessionbridge.model import (
    Block,
    Finished,
    KeptResponse,
    Message,
    Said,
    Started,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolInput,
    ToolUseBlock,
    TurnRequest,
    Usage,
    parts_of,
)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`kept` is what it has beside its words, the rest is of the ledger and the transcript: the
    messages it was asked with and the blocks of its answer. Times are epoch seconds."""

    kept: KeptResponse
    model: str
    stop_reason: str
    usage: Usage
    started_at: float
    ended_at: float
    asked: Sequence[Message]
    answer: Sequence[Block]

    @property
    def turn(self) -> TurnRequest:
        """Its request, but for what was said in it."""
        return turn_of({"model": self.model, "input": "-", **self.kept.asked})


def events(stored: StoredResponse) -> Iterator[dict[str, Any]]:
    """Those of its stream, each block in one piece."""
    times = iter((stored.started_at, stored.ended_at))
    told = Events(stored.turn, lambda: next(times))
    yield from told.of(Started(stored.kept.id, stored.model, stored.usage))
    for index, block in enumerate(stored.answer):
        for delta in _deltas(index, block):
            yield from told.of(delta)
    details = {"output_tokens_details": {"thinking_tokens": stored.kept.thinking_tokens}}
    end = Finished("", (), stored.stop_reason, stored.usage, cost_usd=None, told=details)
    yield from told.of(end)


def document(stored: StoredResponse) -> dict[str, Any]:
    *_, last = events(stored)
    response: dict[str, Any] = last["response"]
    return response


def input_items(
    messages: Sequence[Message], message_id: str, turn: TurnRequest
) -> list[dict[str, Any]]:
    """In the order in which they were said. Their ids are made of that of the answer to them."""
    tools = {tool.name: tool for tool in turn.parameters.tools}
    return items_of(messages, message_id.removeprefix("msg_"), tools)


def items_of(
    messages: Sequence[Message], tail: str, tools: Mapping[str, Tool]
) -> list[dict[str, Any]]:
    """What was said as items; `tail` is what their ids have in common, `tools` are known by the
    names that the model has for them."""
    made: list[dict[str, Any]] = []
    texts: set[str] = set()
    for message in messages:
        for item in _user(message, texts) if message.role == "user" else _assistant(message, tools):
            if item["type"] == "custom_tool_call":
                texts.add(item["call_id"])
            id_ = f"{PREFIXES[item['type']]}_{tail}_i{len(made)}"
            made.append({"id": id_, "status": "completed", **item})
    return made


PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def _deltas(index: int, block: Block) -> Iterator[Said]:
    if block["type"] == "text":
        yield TextDelta(index, block["text"])
    elif block["type"] == "thinking":
        yield ThinkingDelta(index, block["thinking"])
    elif block["type"] == "tool_use":
        yield ToolCall(index, block["id"], block["name"])
        yield ToolInput(index, _json(block["input"]))


def _user(message: Message, texts: set[str]) -> Iterator[dict[str, Any]]:
    """`texts` are the ids of the calls of tools that take a text."""
    content: list[dict[str, Any]] = []
    for block in message.blocks:
        if block["type"] == "tool_result":
            kind = "custom_tool_call" if block["tool_use_id"] in texts else "function_call"
            yield {
                "type": f"{kind}_output",
                "call_id": block["tool_use_id"],
                "output": [part for told in parts_of(block) if (part := _part(told))],
            }
        elif part := _part(block):
            content.append(part)
    if content:
        yield {"type": "message", "role": "user", "content": content}


def _assistant(message: Message, tools: Mapping[str, Tool]) -> Iterator[dict[str, Any]]:
    """Without what was thought, which this API has nobody send back."""
    for block in message.blocks:
        if block["type"] == "text":
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": block["text"]}
            yield {"type": "message", "role": "assistant", "content": [part]}
        elif block["type"] == "tool_use":
            yield _call(block, tools.get(block["name"], Tool(block["name"], "", {})))


def _call(block: ToolUseBlock, tool: Tool) -> dict[str, Any]:
    namespace = {} if tool.namespace is None else {"namespace": tool.namespace}
    call = {"call_id": block["id"], "name": tool.called or tool.name, **namespace}
    given = _json(block["input"])
    if tool.takes_text:
        return {"type": "custom_tool_call", **call, "input": free_text.written(given)}
    return {"type": "function_call", **call, "arguments": given}


def _part(block: Block) -> dict[str, Any] | None:
    if block["type"] == "text":
        return {"type": "input_text", "text": block["text"]}
    if block["type"] == "image":
        return {"type": "input_image", "detail": "auto", "image_url": _url(block["source"])}
    if block["type"] == "document":
        source, name = block["source"], block.get("title")
        place = "file_url" if source["type"] == "url" else "file_data"
        named = {"filename": name} if name else {}
        return {"type": "input_file", place: _url(source), **named}
    return None


def _url(source: Mapping[str, Any]) -> str:
    if source["type"] == "url":
        return str(source["url"])
    if source["type"] == "text":
        data = base64.b64encode(source["data"].encode()).decode()
        return f"data:text/plain;base64,{data}"
    return f"data:{source['media_type']};base64,{source['data']}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
