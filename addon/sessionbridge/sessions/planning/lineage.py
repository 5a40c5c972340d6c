"""Conversations as chains of hashes: two clients that hold the same conversation get the same hash.

Each block's hash takes in its role and the hash before it, so a hash stands for everything said up
to its place, and it does not matter how a client cuts the conversation into messages. What cannot
change the model's reading is left out of the canonical form: white space at the ends of a text, the
order of JSON keys, `cache_control`, the way an assistant's text is cut into blocks.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any

from sessionbridge.model import Block, Message, Role, is_blank, parts_of

ROOT = ""
"""The hash of a conversation in which nothing has been said."""


@dataclass(frozen=True, slots=True)
class Link:
    """One message of the chain, and the hash of the conversation up to and including it."""

    message: Message
    hash: str


def chain(messages: Sequence[Message]) -> tuple[Link, ...]:
    """The conversation as alternating messages, each with its hash.

    Neighbours of one role become one message of several blocks: sent one after the other the CLI
    would put a newline between them (measured with 2.1.332), in one message they stay exact.
    """
    links: list[Link] = []
    for message in alternating(messages):
        before = links[-1].hash if links else ROOT
        links.append(Link(message, extend(before, message)))
    return tuple(links)


def extend(before: str, message: Message) -> str:
    """The hash of a conversation that ends in `message` and had the hash `before`."""
    value = before
    for form in _canonical(message):
        line = f'["{value}", "{message.role}", {_encode(form)}]'
        value = hashlib.blake2b(line.encode(), digest_size=16).hexdigest()
    return value


def beginnings(message: Message) -> list[str]:
    """The hashes of conversations that hold the first blocks of this message and no more."""
    counts = range(1, len(message.blocks))
    return [extend(ROOT, Message(message.role, message.blocks[:count])) for count in counts]


def _encode(form: list[Any]) -> str:
    if form[0] == "text":  # nearly all of thousands of messages, and many times faster
        return f'["text", {encode_basestring_ascii(form[1])}]'
    return json.dumps(form, sort_keys=True, ensure_ascii=True)


def alternating(messages: Iterable[Message]) -> list[Message]:
    """Neighbours of one role as one message, without what says nothing."""
    runs: list[tuple[Role, list[Block]]] = []
    for message in messages:
        spoken = [block for block in message.blocks if not is_blank(block)]
        if spoken and runs and runs[-1][0] == message.role:
            runs[-1][1].extend(spoken)
        elif spoken:
            runs.append((message.role, spoken))
    return [Message(role, tuple(blocks)) for role, blocks in runs]


def _canonical(message: Message) -> list[Any]:
    forms = [form for block in message.blocks if (form := _canonical_block(block)) is not None]
    if message.role == "user" or len(forms) == 1:
        return forms
    text = "".join(str(block["text"]) for block in message.blocks if block["type"] == "text")
    others = [form for form in forms if form[0] != "text"]
    return [["text", text.strip()], *others] if text.strip() else others


def _canonical_block(block: Block) -> list[Any] | None:
    match block["type"]:
        case "text":
            text = str(block["text"]).strip()
            return ["text", text] if text else None
        case "image":
            return ["image", _source(block["source"])]
        case "document":
            # The model reads these two along with the document.
            return ["document", _source(block["source"]), block.get("title"), block.get("context")]
        case "tool_use":
            return ["tool_use", block["id"], block["name"], block["input"]]
        case "tool_result":
            content = _parts(parts_of(block))
            return ["tool_result", block["tool_use_id"], content, bool(block.get("is_error"))]
        case "thinking" | "redacted_thinking":
            return None  # the API leaves it out of later turns, and clients may
        case "search_result":
            found = _parts(block["content"])
            return ["search_result", block["source"], block["title"], found]
        case kind if kind == "server_tool_use" or kind.endswith("_tool_result"):
            # What tools at Anthropic were asked, and have found.
            return [kind, {name: value for name, value in block.items() if name != "type"}]
        case kind:
            raise ValueError(f"a {kind!r} block has no canonical form")


def _parts(blocks: Iterable[Block]) -> list[Any]:
    return [form for block in blocks if (form := _canonical_block(block)) is not None]


def _source(source: Mapping[str, Any]) -> list[Any]:
    """Images and documents by what they are, not by how the bytes were written down."""
    if source.get("type") != "base64":
        return ["source", dict(source)]
    try:
        content = base64.b64decode(source["data"])
    except ValueError:
        # No base64 after all: for the API behind the CLI to refuse, not for us to fail at.
        return ["source", dict(source)]
    return ["bytes", hashlib.blake2b(content, digest_size=16).hexdigest()]
