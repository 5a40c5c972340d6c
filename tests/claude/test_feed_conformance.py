"""Guards what the bridge rests on and nobody documents: feeding a conversation without asking.

A CLI that fails here can still be used: see claude/transcript/imports.py for the way out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ResultMessage

from sessionbridge.claude.cli.child_mark import CHILD_HEADER, child_secret
from sessionbridge.claude.cli.environment import FIXED
from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.profile import transcript_path
from sessionbridge.claude.tools.client_tools import ClientTools
from sessionbridge.errors import FeedRefused
from sessionbridge.model import Block, Message
from tests.support.claude_cli import (
    MODEL,
    Answer,
    Stage,
    blocks_of,
    isolated,
    job,
    say,
    staged_one_way,
)

USE: Block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "é"}}
BIG: Block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "big " * 150_000}
TAKES_OVER = "takes messages over without asking (shouldQuery: false)"


def out(what: str) -> str:
    return f"the CLI no longer {what}: see claude/transcript/imports.py for the way out"


@pytest.fixture
async def stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Stage]:
    async with staged_one_way(
        tmp_path,
        isolated(monkeypatch, tmp_path),
        caplog,
        keep=Keep(long=1_000),
        never_logged="dispatch by fed failed",
        otherwise=out(TAKES_OVER),
    ) as stage:
        yield stage


FED = (
    say("@/etc/hostname"),
    say("one", "assistant"),
    Message("user", ({"type": "text", "text": "/cost"}, {"type": "text", "text": "ü𝄞\n"})),
    say("two", "assistant"),
    say("two and a half", "assistant"),
    say("/compact"),
    say("@/etc/passwd /cost", "assistant"),
)


async def test_the_model_sees_what_was_fed_word_for_word(stage: Stage) -> None:
    whole = await stage.answer(job("And now?", feed=FED))
    assert len(stage.api.calls) == 1, out(TAKES_OVER)
    expected = blocks_of(*FED, say("And now?"))
    assert stage.blocks == expected, out("shows fed messages word for word and in order")
    written = _uuids(stage, whole)
    assert list(whole.finished.entries[:-1]) == [
        entry for entry in written if entry in whole.finished.entries[:-1]
    ], out("keeps the uuids of fed messages in its transcript")

    for at, message in ((4, FED[4]), (5, FED[5])):
        await stage.answer(job("Fork", "fork", after=whole, entry=whole.finished.entries[at]))
        seen = [(role, str(block.get("text")).strip()) for role, block in stage.blocks]
        told = [(role, str(block.get("text")).strip()) for role, block in blocks_of(*FED[: at + 1])]
        assert seen == [*told, ("user", "Fork")], out(f"forks at a fed {message.role} message")


async def test_a_tail_of_tool_calls_can_be_fed_whole(stage: Stage) -> None:
    head = (say("Look"), Message("assistant", ({"type": "text", "text": "I do"}, USE)))
    ask = Message("user", (BIG, {"type": "text", "text": "Well?"}))
    one = await stage.answer(job(ask, feed=head))
    seen = stage.blocks
    assert seen == blocks_of(*head, ask), out("takes an open tool call over as it is")

    again: Block = {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}}
    found: Block = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "It"}
    more = (
        replace(say("Again", "user")),
        Message("assistant", (again,)),
        Message("user", (found,)),
    )
    await stage.answer(job("Go on", "resume", after=one, feed=(*more, say("So", "assistant"))))
    assert stage.blocks[-5:] == blocks_of(*more, say("So", "assistant"), say("Go on")), out(
        "takes messages over on a resume"
    )


async def test_a_greeting_from_the_assistant_comes_first(stage: Stage) -> None:
    greeting = say("Hello, how can I help?", "assistant")
    one = await stage.answer(job("Who am I?", feed=(greeting,)))
    assert stage.blocks == blocks_of(greeting, say("Who am I?")), out(
        "takes over an assistant's message before any other"
    )
    await stage.answer(job("Still?", "resume", after=one))
    assert stage.blocks[0] == blocks_of(greeting)[0], out("keeps a greeting over a resume")


async def test_a_live_process_is_fed_between_questions(stage: Stage) -> None:
    work_dir = stage.profile.work_dir("session")
    work_dir.mkdir(parents=True)
    mark = f"{CHILD_HEADER}: {child_secret(stage.profile.home)}"
    process = CliProcess(
        ClaudeAgentOptions(
            cwd=work_dir,
            # Without what is fixed it makes a title call of its own at any moment.
            env=FIXED | stage.extra | {"ANTHROPIC_CUSTOM_HEADERS": mark},
            model=MODEL,
            tools=[],
            setting_sources=[],
            strict_mcp_config=True,
            verbatim_prompts=True,
        ),
        ClientTools(),
    )
    more = (say("By the way"), say("Yes?", "assistant"))
    try:
        await process.begin({})
        await process.ask(say("My name is Ann"))
        await _to_the_end(process)
        try:
            for message in more:
                await process.feed(message)
        except FeedRefused:
            pytest.fail(out(TAKES_OVER))
        await process.ask(say("Who am I?"))
        await _to_the_end(process)
    finally:
        await process.kill()
    told = (say("My name is Ann"), say("Nice to meet you, Ann!", "assistant"))
    assert stage.blocks == blocks_of(*told, *more, say("Who am I?")), out("can be fed while alive")


async def _to_the_end(process: CliProcess) -> None:
    async with aclosing(process.messages()) as messages:
        async for message in messages:
            if isinstance(message, ResultMessage):
                return


def _uuids(stage: Stage, answer: Answer) -> list[Any]:
    place = stage.profile.config_dir, stage.profile.work_dir("session"), answer.session_id
    lines = transcript_path(*place).read_text().splitlines()
    return [json.loads(line).get("uuid") for line in lines]
