"""Conversations in the neutral form, as clients of both APIs write them and read the answers.

What was sent and what the model saw are compared in two ways that share no code: by the hashes the
planner uses, and as text to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sessionbridge.sessions.lineage import chain
from sessionbridge.turn import Block, Message, Role

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
            return f"<result {block['tool_use_id']} {block['content']}>"
    raise AssertionError(block)


def assert_same(seen: Sequence[Message], sent: Sequence[Message]) -> None:
    """None lost, none doubled, none reworded."""
    assert readable(seen) == readable(sent)
    assert [link.hash for link in chain(seen)] == [link.hash for link in chain(sent)]


def is_same(seen: Sequence[Message], sent: Sequence[Message]) -> bool:
    return readable(seen) == readable(sent)


@dataclass(frozen=True, slots=True)
class Way:
    """How a client writes a request: its API, and how it cuts a conversation into messages."""

    api: Literal["messages", "chat"] = "messages"
    stream: bool = False
    cut: Literal["strings", "blocks", "split"] = "strings"

    def body(self, talk: Sequence[Message], system: str = "", **fields: Any) -> bytes:
        if self.cut == "split":
            talk = [part for message in talk for part in _split(message)]
        render = self._messages if self.api == "messages" else self._chat
        return json.dumps(render(talk, system) | {"stream": self.stream} | fields).encode()

    def read(self, body: bytes) -> str:
        """The answer's text."""
        if self.stream:
            return "".join(map(self._piece, events(body)))
        answer = json.loads(body)
        if self.api == "messages":
            return "".join(block["text"] for block in answer["content"])
        return str(answer["choices"][0]["message"]["content"])

    def _piece(self, event: Mapping[str, Any]) -> str:
        if self.api == "messages":
            return str(event.get("delta", {}).get("text", ""))
        return "".join(choice["delta"].get("content") or "" for choice in event["choices"])

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
        return {"model": "gpt-4o", "messages": messages}

    def _chat_messages(self, message: Message) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = [
            {"role": "tool", "tool_call_id": b["tool_use_id"], "content": b["content"]}
            for b in message.blocks
            if b["type"] == "tool_result"
        ]
        calls = [_call(b) for b in message.blocks if b["type"] == "tool_use"]
        said = [b for b in message.blocks if b["type"] in ("text", "image")]
        if said or not told:
            content = self._content([_chat_part(b) for b in said])
            with_calls = {"tool_calls": calls} if calls else {}
            told.append({"role": message.role, "content": content, **with_calls})
        return told

    def _content(self, blocks: Sequence[Block]) -> Any:
        only = blocks[0] if len(blocks) == 1 else None
        if not blocks:
            return ""
        if self.cut == "strings" and only is not None and only["type"] == "text":
            return only["text"]
        return [dict(block) for block in blocks]


def _split(message: Message) -> list[Message]:
    """Each block of the user's in a message of its own; an assistant's calls stay with its text."""
    if message.role == "assistant":
        return [message]
    return [Message("user", (block,)) for block in message.blocks]


def _call(block: Block) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
    return {"id": block["id"], "type": "function", "function": function}


def _chat_part(block: Block) -> Block:
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
