"""Turns in which the model calls the client's tools: what it says, and what the client returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sessionbridge.claude.job import Job
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.cli.demo.scripted_api import Usage as ScriptedUsage
from sessionbridge.model import (
    Block,
    Message,
    Parameters,
    Plan,
    Point,
    Tool,
    ToolCall,
    ToolInput,
    ToolResultBlock,
    ToolUseBlock,
)
from tests.support.claude_cli import USAGE, Answer, Stage, job

LOOK = Tool("look", "Looks at a thing.", {"type": "object", "properties": {"at": {}}})
OTHER = Tool("other", "Does another thing.", {"type": "object"})
OFFERED = Parameters(tools=(LOOK, OTHER))
IMAGE: Block = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="},
}


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def use(call: str, name: str = "look", **given: Any) -> ToolUseBlock:
    return {"type": "tool_use", "id": call, "name": name, "input": given}


def found(call: str, content: Any = "It is here", **fields: Any) -> ToolResultBlock:
    return {"type": "tool_result", "tool_use_id": call, "content": content, **fields}


def calling(*blocks: Block, usage: ScriptedUsage = USAGE) -> Reply:
    """The model says this, and waits for the results of the calls in it."""
    return Reply((), usage, content=blocks)


def offering(ask: str | Message, parameters: Parameters = OFFERED, **changes: Any) -> Job:
    return job(ask, parameters=parameters, **changes)


def returning(after: Answer, *blocks: Block, **changes: Any) -> Job:
    """The client's next request: it brings results to where the model waits for them."""
    base = Point("hash", after.session_id, after.tip, 1, is_tip=True, is_open=True)
    plan = Plan("resume", "tool_results", base, (), Message("user", blocks))
    parameters = changes.pop("parameters", OFFERED)
    same = offering("", parameters, session_id=after.session_id, **changes)
    return replace(same, plan=plan)


def called(turn: Answer) -> list[tuple[str, str, str]]:
    """Id, name and the JSON text of the input of each call, as the client hears them."""
    calls = [delta for delta in turn.deltas if isinstance(delta, ToolCall)]
    texts = dict.fromkeys((call.block for call in calls), "")
    for delta in turn.deltas:
        if isinstance(delta, ToolInput):
            texts[delta.block] += delta.json
    return [(call.id, call.name, texts[call.block]) for call in calls]


def plain(blocks: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Blocks in one way to write them: a result's string is its only text, no error is none."""
    return [(role, _plain(dict(block))) for role, block in blocks]


def shown(stage: Stage) -> list[tuple[str, dict[str, Any]]]:
    return plain(stage.blocks)


def said(role: str, *blocks: Block) -> list[tuple[str, dict[str, Any]]]:
    return plain((role, block) for block in blocks)


def _plain(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] != "tool_result":
        return block
    content = block.get("content", [])
    if isinstance(content, str):
        content = [text(content)] if content else []
    parts = [{k: v for k, v in part.items() if k != "cache_control"} for part in content]
    error = {"is_error": True} if block.get("is_error") else {}
    return {"type": "tool_result", "tool_use_id": block["tool_use_id"], "content": parts, **error}
