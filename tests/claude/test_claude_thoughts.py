"""What the model thought, in conversations that are given to a new session (real CLI).

The API wants the thoughts before calls back when their results come, and signed as they were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessionbridge.claude.pool.pool import Keep
from sessionbridge.model import Block, Message, Parameters, Thinking, Tool
from tests.support.claude_cli import Stage, blocks_of, isolated, job, say, some, staged_one_way

LOOK = Tool("look", "Looks.", {"type": "object", "properties": {}})
ON = Parameters(thinking=Thinking(), tools=(LOOK,))
HIDDEN: Block = {"type": "redacted_thinking", "data": "aGlkZGVu"}


def thought(words: str) -> Block:
    return {"type": "thinking", "thinking": words, "signature": "c2ln"}


def use(number: int) -> Block:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": {}}


def found(number: int) -> Message:
    return Message("user", ({"type": "tool_result", "tool_use_id": f"toolu_{number}"},))


def text(words: str) -> Block:
    return {"type": "text", "text": words}


FEED = (
    say("Look twice"),
    Message("assistant", (thought("Once."), use(1))),
    found(1),
    Message("assistant", (thought("Again."), HIDDEN, text("Again."), use(2))),
    found(2),
    Message("assistant", (thought("Enough."), text("I did."))),
    say("Thanks"),
    Message("assistant", (HIDDEN, text("Any time."))),
)
OPEN = (say("Once more"), Message("assistant", (thought("Well."), use(3))))


BY_FILE, FED = 0, 100


@pytest.fixture(params=[BY_FILE, FED], ids=["file", "fed"])
async def stage(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> AsyncIterator[Stage]:
    async with staged_one_way(
        tmp_path,
        isolated(monkeypatch, tmp_path),
        caplog,
        keep=Keep(long=request.param),
        never_logged="failed",
        otherwise="the other way was taken",
    ) as stage:
        yield stage


@pytest.mark.parametrize(
    "stage, model",
    some(
        [(FED, "sonnet"), (BY_FILE, "claude-opus-4-6")],
        [(BY_FILE, "default"), (BY_FILE, "sonnet"), (FED, "claude-sonnet-4-5")],
    ),
    indirect=["stage"],
)
async def test_what_was_thought_reaches_the_model(stage: Stage, model: str) -> None:
    asked = say("And?")
    first = await stage.answer(job(asked, "import", feed=FEED, parameters=ON, model=model))
    told = (*FEED, asked)
    assert stage.blocks == blocks_of(*told)

    follow = (say(first.text, "assistant"), say("So?"))
    await stage.answer(job("So?", "resume", after=first, parameters=ON, model=model))
    assert stage.blocks == blocks_of(*told, *follow)


@pytest.mark.parametrize("model", some(["sonnet"], ["default"]))
async def test_results_come_after_what_was_thought(stage: Stage, model: str) -> None:
    feed = (*FEED, *OPEN)
    await stage.answer(job(found(3), "import", feed=feed, parameters=ON, model=model))
    assert stage.blocks == blocks_of(*feed, found(3))
