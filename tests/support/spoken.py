"""Conversations in the neutral form, as clients of both APIs write them and read the answers.

What was sent and what the model saw are compared in two ways that share no code: by the hashes the
planner uses, and as text to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pydantic_core import from_json

from sessionbridge.apis.common.arguments import UNREADABLE
from sessionbridge.model import (
    Block,
    FileBlock,
    Message,
    Role,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from sessionbridge.sessions.planning.lineage import chain

Talk = tuple[Message, ...]

PIXEL = "iVBORw0KGgo="


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def image(data: str = PIXEL) -> Block:
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": data},
    }


def user(*blocks: Block | str) -> Message:
    return _message("user", blocks)


def assistant(*blocks: Block | str) -> Message:
    return _message("assistant", blocks)


def _message(role: Role, blocks: Sequence[Block | str]) -> Message:
    return Message(role, tuple(text(b) if isinstance(b, str) else b for b in blocks))


def readable(talk: Iterable[Message]) -> list[tuple[str, list[str]]]:
    """Who said what: neighbours of one role together, an assistant's text in one piece."""
    runs: list[tuple[str, list[Block]]] = []
    for message in talk:
        blocks = [b for b in message.blocks if b["type"] != "text" or b["text"].strip()]
        if not blocks:
            continue
        if not runs or runs[-1][0] != message.role:
            runs.append((message.role, []))
        runs[-1][1].extend(blocks)
    return [(role, _shown(role, blocks)) for role, blocks in runs]


def _shown(role: str, blocks: Sequence[Block]) -> list[str]:
    texts = [b["text"] for b in blocks if b["type"] == "text"]
    if role == "user":
        return [_line(b) for b in blocks]
    said = ["".join(texts).strip()] if texts else []
    return said + [_line(b) for b in blocks if b["type"] != "text"]


def _line(block: Block) -> str:
    match block["type"]:
        case "text":
            return str(block["text"]).strip()
        case "image":
            return f"<image {block['source']['data']}>"
        case "tool_use":
            given = json.dumps(block["input"], sort_keys=True)
            return f"<call {block['id']} {block['name']} {given}>"
        case "tool_result":
            content = block.get("content") or []
            parts = [text(content)] if isinstance(content, str) else content
            lines = [line for line in map(_line, parts) if line]
            failed = " failed" if block.get("is_error") else ""
            return f"<result {block['tool_use_id']}{failed} {lines}>"
    raise AssertionError(block)


def assert_same(seen: Sequence[Message], sent: Sequence[Message]) -> None:
    """None lost, none doubled, none reworded."""
    if not is_same(seen, sent):
        raise AssertionError(f"The model was shown\n{_page(seen)}\ninstead of\n{_page(sent)}")
    assert [link.hash for link in chain(seen)] == [link.hash for link in chain(sent)]


def is_same(seen: Sequence[Message], sent: Sequence[Message]) -> bool:
    return readable(seen) == readable(sent)


def _page(talk: Sequence[Message]) -> str:
    return "\n".join(f"  {role}: {' | '.join(lines)}" for role, lines in readable(talk))


def text_in(message: Message) -> str:
    return "".join(block["text"] for block in message.blocks if block["type"] == "text")


def in_order(talk: Talk) -> Talk:
    """With the results by the ids of their calls: the CLI gives them in an order of its own."""
    return tuple(
        Message(link.message.role, tuple(sorted(link.message.blocks, key=_place)))
        for link in chain(talk)
    )


def _place(block: Block) -> tuple[bool, str]:
    return (False, block["tool_use_id"]) if block["type"] == "tool_result" else (True, "")


def calls(message: Message) -> list[ToolUseBlock]:
    return [block for block in message.blocks if block["type"] == "tool_use"]


def questions(talk: Sequence[Message]) -> list[int]:
    """Where the user says something, and brings no results."""
    return [
        place
        for place, message in enumerate(talk)
        if message.role == "user" and message.blocks[0]["type"] != "tool_result"
    ]


def result(call: ToolUseBlock, content: str | list[Block] = "", **fields: Any) -> ToolResultBlock:
    return {"type": "tool_result", "tool_use_id": call["id"], "content": content, **fields}


def has_results(talk: Iterable[Message]) -> bool:
    return any(block["type"] == "tool_result" for message in talk for block in message.blocks)


def is_sound(talk: Sequence[Message]) -> bool:
    """Whether each call has its one result in the message after it, and each result its call."""
    waiting: list[str] = []
    for link in chain(talk):
        results = [b for b in link.message.blocks if b["type"] == "tool_result"]
        if sorted(block["tool_use_id"] for block in results) != sorted(waiting):
            return False
        waiting = [block["id"] for block in calls(link.message)]
    return not waiting


def _only_messages_can_say(talk: Iterable[Message]) -> bool:
    """Chat Completions has no place for the failure of a tool, nor for an image in a result."""
    results = [b for message in talk for b in message.blocks if b["type"] == "tool_result"]
    return any(b.get("is_error") or "image" in _kinds(b["content"]) for b in results)


def _kinds(content: str | Sequence[Block]) -> list[str]:
    return [] if isinstance(content, str) else [block["type"] for block in content]


@dataclass(frozen=True, slots=True)
class Way:
    """How a client writes a request: its API, and how it cuts a conversation into messages."""

    api: Literal["messages", "chat"] = "messages"
    stream: bool = False
    cut: Literal["strings", "blocks", "split"] = "strings"

    def able(self, talk: Iterable[Message]) -> Way:
        """This way, or the API that can say it all."""
        return replace(self, api="messages") if _only_messages_can_say(talk) else self

    def body(self, talk: Sequence[Message], system: str = "", **fields: Any) -> bytes:
        if self.cut == "split":
            talk = [part for message in talk for part in _split(message)]
        render = self._messages if self.api == "messages" else self._chat
        return json.dumps(render(talk, system) | {"stream": self.stream} | fields).encode()

    def read(self, body: bytes) -> Message:
        """The answer, its text in one block before its calls."""
        whole = events(body) if self.stream else [json.loads(body)]
        if self.api == "messages":
            return _answer(_blocks(whole) if self.stream else whole[0]["content"])
        return _answer(_chat_blocks([event["choices"][0] for event in whole if event["choices"]]))

    def _messages(self, talk: Sequence[Message], system: str) -> dict[str, Any]:
        messages = [{"role": m.role, "content": self._content(m.blocks)} for m in talk]
        if self.cut == "blocks" and messages and isinstance(messages[-1]["content"], list):
            # As clients do that mark how far their prompt is to be cached.
            messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        named = {"system": system} if system else {}
        return {"model": "claude-x", "max_tokens": 9, "messages": messages, **named}

    def _chat(self, talk: Sequence[Message], system: str) -> dict[str, Any]:
        messages = [{"role": "system", "content": system}] if system else []
        for message in talk:
            messages += self._chat_messages(message)
        return {"model": "claude-x", "messages": messages}

    def _chat_messages(self, message: Message) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": b["tool_use_id"], "content": b["content"]}
            for b in message.blocks
            if b["type"] == "tool_result"
        ]
        made = [_call(block) for block in calls(message)]
        said = [b for b in message.blocks if b["type"] == "text" or b["type"] == "image"]
        if said or not told:
            content = self._content([_chat_part(b) for b in said])
            with_calls = {"tool_calls": made} if made else {}
            told.append({"role": message.role, "content": content, **with_calls})
        return told

    def _content(self, blocks: Sequence[Mapping[str, Any]]) -> Any:
        only = blocks[0] if len(blocks) == 1 else None
        if not blocks:
            return ""
        if self.cut == "strings" and only is not None and only["type"] == "text":
            return only["text"]
        return [dict(block) for block in blocks]


def _answer(blocks: Sequence[Block]) -> Message:
    whole = assistant(*blocks)
    said = [text(text_in(whole))] if text_in(whole) else []
    return assistant(*said, *calls(whole))


def _blocks(events: Iterable[Mapping[str, Any]]) -> list[Block]:
    """The blocks of a stream of the Messages API."""
    begun: list[dict[str, Any]] = []
    inputs: list[str] = []
    for event in events:
        if event["type"] == "content_block_start":
            begun.append({**event["content_block"]})
            inputs.append("")
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            inputs[-1] += delta.get("partial_json", "")
            if "text" in delta:
                begun[-1]["text"] += delta["text"]
    for block, given in zip(begun, inputs, strict=True):
        if block["type"] == "tool_use":
            block["input"] = _part_of(given or "{}")
    return cast("list[Block]", begun)


def _chat_blocks(choices: Iterable[Mapping[str, Any]]) -> list[Block]:
    """The blocks in one choice, or in those of a stream."""
    said: list[str] = []
    begun: list[tuple[str, str]] = []
    inputs: list[str] = []
    for choice in choices:
        told = choice.get("message") or choice["delta"]
        said.append(told.get("content") or "")
        for call in told.get("tool_calls") or ():
            function = call["function"]
            if "id" in call:
                begun.append((call["id"], function["name"]))
                inputs.append("")
            inputs[-1] += function["arguments"]
    made: list[ToolUseBlock] = [
        {"type": "tool_use", "id": id_, "name": name, "input": _read(given)}
        for (id_, name), given in zip(begun, inputs, strict=True)
    ]
    return [text("".join(said)), *made]


def _part_of(given: str) -> Any:
    """An input that was cut off, as the official client of Messages reads it."""
    return from_json(given, allow_partial=True)


def _read(given: str) -> Any:
    """One that cannot be read is sent back as it is."""
    try:
        return json.loads(given)
    except ValueError:
        return {UNREADABLE: given}


def _split(message: Message) -> list[Message]:
    """Each block of the user's in a message of its own; an assistant's calls stay with its text."""
    if message.role == "assistant":
        return [message]
    return [Message("user", (block,)) for block in message.blocks]


def _call(block: ToolUseBlock) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
    return {"id": block["id"], "type": "function", "function": function}


def _chat_part(block: TextBlock | FileBlock) -> Mapping[str, Any]:
    if block["type"] == "text":
        return block
    source = block["source"]
    url = f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "image_url", "image_url": {"url": url}}


def events(body: bytes) -> list[Mapping[str, Any]]:
    """The JSON events of a stream."""
    lines = body.decode().splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(line) for line in data if line != "[DONE]"]
