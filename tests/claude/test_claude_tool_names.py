"""A tool's name draws no text of the CLI's own into the prompt, whatever tool it has by that name
(real CLI)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessionbridge.model import Parameters, Tool
from tests.support.claude_cli import Stage, isolated, job, staged

_OWN = """
    Agent AskUserQuestion Artifact Bash BashOutput Brief Config CronCreate CronDelete CronList Edit
    EnterPlanMode EnterWorktree ExitPlanMode ExitWorktree Glob Grep KillBash KillShell LS LSP
    ListMcpResourcesTool Monitor MultiEdit NotebookEdit NotebookRead PowerShell PushNotification
    REPL Read ReadMcpResourceTool RemoteTrigger ScheduleWakeup SendMessage SendUserMessage Skill
    SlashCommand Sleep StructuredOutput Task TaskCreate TaskGet TaskList TaskOutput TaskStop
    TaskUpdate TeamCreate TeamDelete TodoWrite ToolSearch WebFetch WebSearch Workflow Write
"""
NAMES = _OWN.split()
EVERY = [*NAMES, *map(str.lower, NAMES), *map(str.upper, NAMES)]


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as made:
        yield made


async def prompt_with(stage: Stage, *names: str) -> str:
    """All that the model is shown, but for the tools and the ids of session and device."""
    tools = tuple(Tool(name, "d", {"type": "object"}) for name in dict.fromkeys(names))
    await stage.answer(job("Hi", parameters=Parameters(tools=tools)))
    body = stage.api.calls[-1].body
    return json.dumps({name: body[name] for name in sorted(body.keys() - {"tools", "metadata"})})


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-5-5"])
async def test_all_names_at_once_draw_in_nothing(stage: Stage, model: str) -> None:
    assert await prompt_with(stage, *EVERY) == await prompt_with(stage, "plain")
