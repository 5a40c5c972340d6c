"""What was said in a turn, for spans that are to hold it. JSON in the form of the conventions:
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.model import Block, Message
from sessionbridge.turns.exchange import Outcome


def messages(outcome: Outcome) -> dict[str, str]:
    """The request's own messages: what is remembered of a conversation was told with its turns."""
    asked = outcome.asked
    if asked is None:
        return {}
    said = [_message(message) for message in asked.messages]
    told = {"gen_ai.input.messages": _json(said)}
    if asked.system:
        instructions = [{"type": "text", "content": asked.system}]
        told["gen_ai.system_instructions"] = _json(instructions)
    answer = outcome.heard.blocks(lambda call: read_arguments(call.written))
    if answer:
        answered = {"role": "assistant", "parts": _parts(answer.values())}
        ended = {"finish_reason": outcome.stop_reason or "error"}
        told["gen_ai.output.messages"] = _json([answered | ended])
    return told


def _json(value: object) -> str:
    """In pieces: `json.dumps` keeps the interpreter's lock from the first byte to the last, and the
    other threads wait for it."""
    return "".join(json.JSONEncoder().iterencode(value))


def _message(message: Message) -> dict[str, Any]:
    role = "tool" if message.brings_results else message.role
    return {"role": role, "parts": _parts(message.blocks)}


def _parts(blocks: Iterable[Block]) -> list[dict[str, Any]]:
    return [_part(block) for block in blocks]


def _part(block: Block) -> dict[str, Any]:
    """Of images and files, and whatever else is no text, only that they are there."""
    match block["type"]:
        case "text":
            return {"type": "text", "content": block["text"]}
        case "thinking":
            return {"type": "reasoning", "content": block["thinking"]}
        case "tool_use":
            call = {"id": block["id"], "name": block["name"], "arguments": block["input"]}
            return {"type": "tool_call", **call}
        case "tool_result":
            content = block.get("content") or ""
            response = content if isinstance(content, str) else _parts(content)
            return {"type": "tool_call_response", "id": block["tool_use_id"], "response": response}
    return {"type": block["type"]}
