"""Answers that end in another way than the CLI has them, where it alone keeps the history: what the
model is shown next is what the client was told (real CLI)."""

from __future__ import annotations

from typing import Any

import pytest

from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.model import Block, Message, ToolUseBlock
from tests.support.claude_cli import USAGE, Stage, answer, say
from tests.support.live_processes import serving, stage
from tests.support.tool_rounds import (
    OFFERED,
    calling,
    found,
    offering,
    returning,
    said,
    shown,
    text,
    use,
)

__all__ = ["stage"]

DONE = Reply(("Done.",), USAGE)
WORDS = text("I write.")
CUT: ToolUseBlock = {**use("toolu_1"), "input": '{"at": "he'}
THOUGHT: Block = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


def ending(reason: str, *blocks: Block) -> Reply:
    return Reply((), USAGE, reason, tuple(blocks))


async def next_turn(stage: Stage, **changes: Any) -> list[tuple[str, dict[str, Any]]]:
    """What the model is shown after a turn that ended so."""
    async with serving(stage.profile, live=2) as dispatcher:
        last = stage.replies.pop()
        stage.replies = [DONE, last, DONE]
        before = await answer(dispatcher, offering("One"))
        ended = await answer(dispatcher, offering("Two", name="resume", after=before, **changes))
        assert len(stage.api.calls) == 2
        tip = ended.finished.entries[-1]
        assert tip is not None and ended.finished.exact
        await answer(dispatcher, offering("Three", name="resume", after=ended))
    return shown(stage)[2:]


@pytest.mark.parametrize(
    "reason, blocks",
    [
        ("max_tokens", (WORDS, CUT)),
        ("max_tokens", (WORDS, use("toolu_1"))),
        ("max_tokens", (THOUGHT, WORDS, CUT)),
        ("refusal", (WORDS, CUT)),
        ("model_context_window_exceeded", (WORDS, use("toolu_1"))),
    ],
    ids=["cut", "whole", "thought", "refused", "a full window"],
)
async def test_what_was_said_before_a_call_that_nobody_makes_is_kept(
    stage: Stage, reason: str, blocks: tuple[Block, ...]
) -> None:
    stage.replies = [ending(reason, *blocks)]
    seen = await next_turn(stage)
    assert [pair for pair in seen if pair[1]["type"] != "thinking"] == [
        *said("user", text("Two")),
        *said("assistant", WORDS),
        *said("user", text("Three")),
    ]


@pytest.mark.parametrize("reason", ["max_tokens", "refusal"])
async def test_where_nothing_else_was_said_nothing_is_lost(stage: Stage, reason: str) -> None:
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [DONE, ending(reason, CUT)]
        before = await answer(dispatcher, offering("One"))
        ended = await answer(dispatcher, offering("Two", name="resume", after=before))
        assert ended.finished.entries[-1] is None
        told = await dispatcher.said(ended.session_id, str(ended.finished.tip), before.tip)
    assert told == (say("Two"),)


async def test_a_stop_sequence_cuts_what_the_model_is_shown(stage: Stage) -> None:
    stage.replies = [ending("end_turn", text("One STOP two"))]
    seen = await next_turn(stage, stop=("STOP",))
    assert seen[1:2] == said("assistant", text("One "))


async def test_an_answer_without_the_call_that_it_announces_is_the_end(stage: Stage) -> None:
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [ending("tool_use", WORDS), DONE]
        ended = await answer(dispatcher, offering("Two"))
        told = await dispatcher.said(ended.session_id, ended.tip, None)
    assert ended.finished.stop_reason == "tool_use"
    assert told == (say("Two"), Message("assistant", (WORDS,)))
    assert stage.was_asked(1)


@pytest.mark.parametrize("reason", ["end_turn", "stop_sequence"])
async def test_a_call_is_one_whatever_reason_comes_with_it(stage: Stage, reason: str) -> None:
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [ending(reason, WORDS, use("toolu_1")), DONE]
        waits = await answer(dispatcher, offering("Look"))
        assert waits.finished.stop_reason == "tool_use"
        took = await answer(dispatcher, returning(waits, found("toolu_1")))
    assert (took.text, took.dispatched.process) == ("Done.", "live")


async def test_a_call_of_a_tool_that_is_not_offered_is_the_clients_to_answer(stage: Stage) -> None:
    blocks = WORDS, use("toolu_1"), use("toolu_2", "unknown")
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [DONE, calling(*blocks), DONE]
        await answer(dispatcher, offering("Hello"))
        ended = await answer(dispatcher, offering("Look"))
        assert stage.was_asked(2)
        told = await dispatcher.said(ended.session_id, ended.tip, None)
        assert told == (say("Look"), Message("assistant", blocks))
        results = Message("user", (found("toolu_1"), found("toolu_2")))
        await answer(dispatcher, offering(results, OFFERED, name="import", feed=told))
    asked = said("user", text("Look")), said("assistant", *blocks), said("user", *results.blocks)
    assert shown(stage) == [pair for pairs in asked for pair in pairs]


@pytest.mark.parametrize("written", ["{", "[1, 2]", '"abc"', '{"at": 1e400}'])
async def test_an_input_that_nobody_can_send_back_is_kept_as_its_text(
    stage: Stage, written: str
) -> None:
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [calling(use("toolu_1") | {"input": written}), DONE]
        ended = await answer(dispatcher, offering("Look"))
        [_, told] = await dispatcher.said(ended.session_id, ended.tip, None)
    assert told.blocks == ({**use("toolu_1"), "input": {"arguments": written}},)
