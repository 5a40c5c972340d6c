"""Turns that waited for results and cannot go on: what is told, and that no process is left."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.cli.demo.scripted_api import Failure, Reply
from sessionbridge.errors import ApiFailed, ToolsLost
from sessionbridge.model import Block
from tests.support.claude_cli import USAGE, Answer, Stage, answer, children, until
from tests.support.live_processes import gone, kind, only_child, serving, stage
from tests.support.tool_rounds import calling, found, offering, returning, said, shown, text, use

__all__ = ["stage"]

DONE = Reply(("Done.",), USAGE)
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
BOTH = (found("toolu_1"), found("toolu_2"))
UNFIT: dict[str, tuple[Block, ...]] = {
    "empty": (found("toolu_1", ""), found("toolu_2")),
    "600 KB": (found("toolu_1", "big " * 150_000), found("toolu_2")),
    "a document": (found("toolu_1", [text("this"), DOCUMENT]), found("toolu_2")),
    "text beside them": (*BOTH, text("By the way")),
    "wrong ids": (found("toolu_1"), found("toolu_3")),
    "a subset": (found("toolu_1"),),
    "no results": (text("Never mind"),),
}


async def waiting(stage: Stage, dispatcher: ClaudeDispatcher, **changes: Any) -> Answer:
    stage.replies = [calling(use("toolu_1"), use("toolu_2", "other")), DONE]
    waits = await answer(dispatcher, offering("Look", **changes))
    assert waits.finished.stop_reason == "tool_use"
    return waits


async def lost(dispatcher: ClaudeDispatcher, waits: Answer, *results: Block) -> None:
    with pytest.raises(ToolsLost):
        await answer(dispatcher, returning(waits, *(results or BOTH)))


async def test_results_that_no_open_call_can_return_leave_the_turn_where_it_is(
    stage: Stage,
) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        waits = await waiting(stage, dispatcher)
        pid = only_child()
        for results in UNFIT.values():
            await lost(dispatcher, waits, *results)
        assert only_child() == pid
        assert kind(await answer(dispatcher, returning(waits, *BOTH))) == "live"
    assert shown(stage)[-2:] == said("user", *BOTH)
    assert len(stage.api.calls) == 2


@pytest.mark.parametrize("known", [True, False], ids=["known to be dead", "asked at once"])
async def test_a_process_that_was_killed_while_it_waited_is_missed(
    stage: Stage, known: bool
) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        waits = await waiting(stage, dispatcher)
        pid = only_child()
        os.kill(pid, signal.SIGKILL)
        if known:
            await until(lambda: gone(pid))
        await lost(dispatcher, waits)
        assert children() == []
    assert len(stage.api.calls) == 1


async def test_a_turn_waits_no_longer_than_it_may(stage: Stage) -> None:
    async with serving(stage.profile, live=1, tool_wait=0.2) as dispatcher:
        waits = await waiting(stage, dispatcher)
        await until(lambda: children() == [])
        await lost(dispatcher, waits)


async def test_without_a_place_to_wait_the_turn_ends_with_the_request(stage: Stage) -> None:
    dispatcher = stage.dispatcher()
    waits = await waiting(stage, dispatcher)
    assert children() == []
    await lost(dispatcher, waits)
    assert len(stage.api.calls) == 1
    # Where only the bridge holds the conversation, it is brought in again from there.
    told = await dispatcher.said(waits.session_id, waits.tip, None)
    calls: dict[str, list[Block]] = {
        "assistant": [use("toolu_1"), use("toolu_2", "other")],
        "user": [text("Look")],
    }
    assert [block for m in told for block in m.blocks] == [*calls["user"], *calls["assistant"]]


async def test_other_tools_or_settings_are_for_another_process(stage: Stage) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        waits = await waiting(stage, dispatcher)
        with pytest.raises(ToolsLost):
            await answer(dispatcher, returning(waits, *BOTH, system="Be long."))


async def test_a_tool_that_was_never_offered_ends_its_process(stage: Stage) -> None:
    """The client is told of the call; what the CLI says to the model about it is not waited for."""
    async with serving(stage.profile, live=1) as dispatcher:
        stage.replies = [calling(use("toolu_1", "imagined"), use("toolu_2")), DONE]
        waits = await answer(dispatcher, offering("Look"))
        assert waits.finished.stop_reason == "tool_use"
        assert children() == []
        await lost(dispatcher, waits)


async def test_an_api_that_fails_after_the_results_is_told_as_it_is(stage: Stage) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        waits = await waiting(stage, dispatcher)
        stage.replies = [Failure(529, "overloaded_error", "Overloaded")]
        with pytest.raises(ApiFailed) as caught:
            await answer(dispatcher, returning(waits, *BOTH))
        assert caught.value.status == 529
        assert children() == []
        await lost(dispatcher, waits)


async def test_closing_while_calls_are_open_leaves_no_process(stage: Stage) -> None:
    async with serving(stage.profile, live=2) as dispatcher:
        await waiting(stage, dispatcher)
        await waiting(stage, dispatcher)
        assert len(children()) == 2
    assert len(stage.api.calls) == 2


async def test_a_spare_answers_a_conversation_with_tools(stage: Stage) -> None:
    async with serving(stage.profile, live=2, spare=1) as dispatcher:
        first = await answer(dispatcher, offering("Hello"))
        await until(lambda: len(children()) == 2)
        waits = await waiting(stage, dispatcher)
        turn = await answer(dispatcher, returning(waits, *BOTH))
        assert [kind(it) for it in (first, waits, turn)] == ["new", "spare", "live"]
    assert shown(stage)[-2:] == said("user", *BOTH)
