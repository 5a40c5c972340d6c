"""An answer of the scripted Messages API as the events of its stream.

As in https://docs.anthropic.com/en/api/messages-streaming: the blocks come one after the other, and
what is inside them in small pieces, however they were given.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

Block = Mapping[str, Any]
Event = Mapping[str, Any]
Pieces = AsyncIterator[str] | tuple[str, ...]

_MOST_PIECES = 64


async def events(
    message: Mapping[str, Any],
    blocks: Sequence[Block],
    stop_reason: str,
    usage: int | Mapping[str, Any],
    stop_details: Mapping[str, Any] | None = None,
) -> AsyncIterator[Event]:
    """All events of one answer; `message` is what is known of it at its beginning,
    `usage` what is told of it at its end, if only the output tokens."""
    empty: Event = {"content": [], "stop_reason": None, "stop_sequence": None}
    yield {
        "type": "message_start",
        "message": {"type": "message", "role": "assistant", **message, **empty},
    }
    for index, block in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": _empty(block)}
        async for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end: dict[str, Any] = {"stop_reason": stop_reason, "stop_sequence": None}
    if stop_details is not None:
        end["stop_details"] = stop_details
    told = {"output_tokens": usage} if isinstance(usage, int) else usage
    yield {"type": "message_delta", "delta": end, "usage": told}
    yield {"type": "message_stop"}


def _empty(block: Block) -> Block:
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}
        case "tool_use" | "server_tool_use":
            return {**block, "input": {}}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
    return block


async def _deltas(block: Block) -> AsyncIterator[Mapping[str, Any]]:
    match block["type"]:
        case "text":
            async for text in _pieces(block["text"]):
                yield {"type": "text_delta", "text": text}
            for citation in block.get("citations", ()):
                yield {"type": "citations_delta", "citation": citation}
        case "tool_use" | "server_tool_use":
            async for part in _pieces(_written(block["input"])):
                yield {"type": "input_json_delta", "partial_json": part}
        case "thinking":
            async for thought in _pieces(block["thinking"]):
                yield {"type": "thinking_delta", "thinking": thought}
            yield {"type": "signature_delta", "signature": block["signature"]}


def _written(given: Any) -> str:
    """The input of a call as the model writes it, or what there is of it."""
    if isinstance(given, str):
        return given
    return json.dumps(given) if given else ""


async def _pieces(text: str | Pieces) -> AsyncIterator[str]:
    """A text that comes whole is cut, but a long one not into thousands of events."""
    if isinstance(text, str):
        size = max(7, -(-len(text) // _MOST_PIECES))
        text = tuple(text[start : start + size] for start in range(0, len(text), size))
    if isinstance(text, tuple):
        for piece in text:
            yield piece
    else:
        async for piece in text:
            yield piece
