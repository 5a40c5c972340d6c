"""A CLI that ends in an orderly way notes the last entry that it has. Where that was never
committed and the next process ends hard, what was committed is gone on from all the same."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.transcript.files import line_to
from tests.support.claude_cli import Answer, Stage, answer, children, job, until
from tests.support.live_processes import ANN, gone, stage, turn_of

__all__ = ["stage"]


async def one_turn(stage: Stage, asked: str, *, hard: bool = False, **how: Any) -> Answer:
    """On a process of its own, which then ends, in good order or not."""
    stage.keep = Keep(live=1)
    dispatcher = stage.dispatcher()
    turn = await answer(dispatcher, job(asked, **how))
    if hard:
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: gone(pid))
    await dispatcher.close()
    return turn


@pytest.mark.parametrize("name", ["resume", "fork"])
async def test_what_was_committed_is_gone_on_from(stage: Stage, name: Any) -> None:
    first = await one_turn(stage, "My name is Ann")
    await one_turn(stage, "This was never committed", name="resume", after=first)
    second = await one_turn(stage, "Who am I?", name="resume", after=first, hard=True)
    third = await one_turn(stage, "And who am I?", name=name, after=second)
    assert third.text == "Your name is Ann."
    assert stage.seen == [*ANN, *turn_of("Who am I?"), ("user", "And who am I?")]


# --- which line is added ----------------------------------------------------------------------


def written(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def said(entry: str, parent: str | None) -> dict[str, Any]:
    return {"type": "user", "uuid": entry, "parentUuid": parent, "sessionId": "S"}


def noted(leaf: str) -> dict[str, Any]:
    return {"type": "last-prompt", "leafUuid": leaf}


BRANCHED = [said("a", None), said("left", "a"), noted("left"), said("b", "a")]


@pytest.mark.parametrize(
    ("lines", "entry", "needed"),
    [
        pytest.param([said("a", None)], "a", False, id="nothing is noted"),
        pytest.param([said("a", None), noted("a")], "a", False, id="it is noted itself"),
        pytest.param([*BRANCHED[:3]], "a", False, id="it comes before what is noted"),
        pytest.param(BRANCHED, "b", True, id="another branch is noted"),
        pytest.param([*BRANCHED, noted("b")], "b", False, id="it was noted later"),
        pytest.param([*BRANCHED, noted("b")], "left", True, id="another was noted later"),
        pytest.param(BRANCHED, "gone", False, id="it is not there"),
        pytest.param([*BRANCHED[:2], noted("?"), said("b", "a")], "b", True, id="noted is none"),
    ],
)
def test_a_line_is_added_where_the_cli_would_not_find_the_entry(
    lines: list[dict[str, Any]], entry: str, needed: bool
) -> None:
    content = written(*lines)
    line = line_to(content, entry)
    assert bool(line) == needed
    if needed:
        assert json.loads(line) == {"type": "last-prompt", "leafUuid": entry, "sessionId": "S"}
        assert line_to(content + line, entry) == b""


def test_a_line_that_a_killed_cli_has_begun_is_left_alone() -> None:
    content = written(*BRANCHED) + b'{"type":"user","uu'
    begun, line, _ = line_to(content, "b").split(b"\n")
    assert begun == b"" and json.loads(line)["leafUuid"] == "b"
