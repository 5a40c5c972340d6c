"""Processes that outlive their turn, and what a conversation is made of then: with the real CLI."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest

from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.cli.demo.scripted_api import Failure, Reply
from sessionbridge.errors import ApiFailed, SessionLost
from sessionbridge.model import Finished, TextDelta
from tests.support.claude_cli import (
    MODEL,
    USAGE,
    Stage,
    answer,
    children,
    job,
    say,
    until,
)
from tests.support.live_processes import (
    ANN,
    ASKED,
    gone,
    kind,
    only_child,
    price,
    serving,
    stage,
    transcripts,
    turn_of,
)

__all__ = ["stage"]


async def endless(words: str) -> AsyncIterator[str]:
    yield words
    await asyncio.Event().wait()


def hanging(words: str = "Once upon") -> Reply:
    return Reply(endless(words), USAGE)


async def leave_at(dispatcher: ClaudeDispatcher, job: Job, last: type) -> None:
    """A consumer that takes its leave as soon as it has heard that."""
    async with aclosing(dispatcher.run(job)) as deltas:
        async for delta in deltas:
            if isinstance(delta, last):
                return
    raise AssertionError("it was never heard")


# --- the process of the turn before -----------------------------------------------------------


async def test_one_process_answers_turn_after_turn(stage: Stage) -> None:
    """The model sees exactly the conversation, and each turn has its own tokens and cost."""
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        pid = only_child()
        two = await answer(dispatcher, job("Who am I?", "resume", after=one))
        assert stage.seen == ASKED[:3]
        tea = (say("@/etc/hostname"), say("/cost", "assistant"))
        three = await answer(dispatcher, job("Still?", "resume", after=two, feed=tea))
        assert only_child() == pid
    assert [kind(turn) for turn in (one, two, three)] == ["new", "live", "live"]
    told = [*ASKED, ("user", "@/etc/hostname"), ("assistant", "/cost"), ("user", "Still?")]
    assert stage.seen == told
    assert len(three.finished.entries) == 4

    four = await stage.answer(job("And now?", "resume", after=three))
    assert stage.seen == [*told, ("assistant", three.text), ("user", "And now?")]
    turns = (one, two, three, four)
    assert {turn.session_id for turn in turns} == {one.session_id}
    for turn, call in zip(turns, stage.api.calls, strict=True):
        assert isinstance(call.reply, Reply)
        assert turn.finished.usage.output_tokens == call.reply.usage.output_tokens
        assert turn.cost == pytest.approx(price(turn.finished.usage))


def noted(tmp_path: Path) -> Path:
    """The real CLI behind a script that notes which of those before it still run when it starts."""
    program, real = tmp_path / "noted", Path(claude_agent_sdk.__file__).parent / "_bundled/claude"
    program.write_text(
        "#!/bin/sh\n"
        f"case $* in -v|--version) exec {real} $* ;; esac\n"
        f"touch {tmp_path}/pids\n"
        f"while read pid; do kill -0 $pid && echo $pid >> {tmp_path}/ran; done < {tmp_path}/pids\n"
        f"echo $$ >> {tmp_path}/pids\n"
        f'exec {real} "$@"\n'
    )
    program.chmod(0o755)
    return program


async def test_what_cannot_be_changed_takes_a_process_of_its_own_after_the_other_has_ended(
    stage: Stage, tmp_path: Path
) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"model": "claude-haiku-4-5"},
        {"system": ""},
    ]
    turn, pids = None, []
    changes: dict[str, Any] = {}
    async with serving(replace(stage.profile, cli=noted(tmp_path)), live=4) as dispatcher:
        for setting in settings:
            changes |= setting
            again = job("My name is Ann") if turn is None else job("?", "resume", after=turn)
            turn = await answer(dispatcher, replace(again, **changes))
            pids.append(only_child())
            assert kind(turn) == "new"
    assert stage.seen == [*ANN, *turn_of("?"), ("user", "?")]
    called = [call.body for call in stage.api.calls]
    assert [body["model"] for body in called] == [MODEL, *["claude-haiku-4-5"] * 2]
    assert (tmp_path / "pids").read_text().split() == [str(pid) for pid in pids]
    assert not (tmp_path / "ran").exists()


async def test_a_system_prompt_holds_from_the_turn_it_came_with(stage: Stage) -> None:
    """The CLI would rather keep the one that its session began with."""
    one = await stage.answer(job("My name is Ann", system="Be brief."))
    two = await stage.answer(job("Who am I?", "resume", after=one, system="Be long."))
    await stage.answer(job("Still?", "fork", after=two, system="Be kind."))
    told = [call.body["system"][-1]["text"] for call in stage.api.calls]
    assert told == ["Be brief.", "Be long.", "Be kind."]
    assert stage.seen == [*ASKED, ("user", "Still?")]


async def test_a_fork_costs_its_own_turn_where_the_process_of_its_origin_ends_for_it(
    stage: Stage,
) -> None:
    """What a session has cost is written as its process ends, and a fork begins with that."""
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        branch = await answer(dispatcher, job("Who am I?", "fork", after=one))
    assert branch.session_id != one.session_id
    assert branch.cost == pytest.approx(price(branch.finished.usage))


async def test_a_fork_leaves_the_process_of_its_origin_to_that_conversation(stage: Stage) -> None:
    async with serving(stage.profile, live=2) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        pid = only_child()
        branch = await answer(dispatcher, job("Hello?", "fork", after=one))
        assert stage.seen == [*ANN, ("user", "Hello?")]
        assert kind(branch) == "new" and branch.session_id != one.session_id
        two = await answer(dispatcher, job("Who am I?", "resume", after=one))
        assert stage.seen == ASKED[:3]
        assert kind(two) == "live" and pid in children() and len(children()) == 2
        three = await answer(dispatcher, job("Still?", "resume", after=branch))
        assert kind(three) == "live"
    assert stage.seen == [*ANN, ("user", "Hello?"), ("assistant", branch.text), ("user", "Still?")]
    for turn in (one, branch, two, three):
        assert turn.cost == pytest.approx(price(turn.finished.usage))


async def test_a_turn_that_somebody_else_has_committed_is_not_missed(
    stage: Stage, tmp_path: Path
) -> None:
    """By another proxy on the same session map: the process that waits here knows nothing of it,
    and the CLI goes on from what the last process to end has seen."""
    async with serving(replace(stage.profile, cli=noted(tmp_path)), live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        pid = only_child()
        two = await stage.answer(job("Who am I?", "resume", after=one))
        three = await answer(dispatcher, job("Still?", "resume", after=two))
        assert kind(three) == "new" and gone(pid)
        assert stage.seen == [*ASKED, ("user", "Still?")]
        assert not (tmp_path / "ran").exists()
        four = await stage.answer(job("Sure?", "resume", after=three))
    five = await stage.answer(job("So?", "resume", after=four))
    assert stage.seen == [*ASKED, *turn_of("Still?"), *turn_of("Sure?"), ("user", "So?")]
    for turn in (one, two, three, four, five):
        assert turn.cost == pytest.approx(price(turn.finished.usage))


async def test_a_turn_that_was_not_committed_is_not_gone_on_with(
    stage: Stage, tmp_path: Path
) -> None:
    async with serving(replace(stage.profile, cli=noted(tmp_path)), live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        pid = only_child()
        await leave_at(dispatcher, job("Lost words", "resume", after=one), Finished)
        assert only_child() == pid  # the turn itself succeeded
        two = await answer(dispatcher, job("Who am I?", "resume", after=one))
    assert kind(two) == "new"
    assert stage.seen == ASKED[:3]
    assert not (tmp_path / "ran").exists()


async def test_a_process_that_was_killed_is_replaced_without_a_word(stage: Stage) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        pid = only_child()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: gone(pid))
        two = await answer(dispatcher, job("Who am I?", "resume", after=one))
        assert kind(two) == "new" and stage.seen == ASKED[:3]
        os.kill(only_child(), signal.SIGKILL)  # and asked at once, before anybody can know
        three = await answer(dispatcher, job("Still?", "resume", after=two))
    assert kind(three) == "new"
    assert stage.seen == [*ASKED, ("user", "Still?")]
    assert len(stage.api.calls) == 3
    for turn in (two, three):
        assert turn.cost == pytest.approx(price(turn.finished.usage))


async def test_a_turn_that_does_not_succeed_takes_its_process_with_it(stage: Stage) -> None:
    """The next turn resumes at the last one that did."""
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        lost = job("Lost words", "resume", after=one)

        stage.replies = [hanging()]
        await leave_at(dispatcher, lost, TextDelta)
        assert children() == []
        two = await answer(dispatcher, job("Who am I?", "resume", after=one))
        assert stage.seen == ASKED[:3]

        stage.replies = [Failure(529, "overloaded_error", "Overloaded")]
        with pytest.raises(ApiFailed):
            await answer(dispatcher, job("Lost words", "resume", after=two))
        assert children() == []
        three = await answer(dispatcher, job("Still?", "resume", after=two))
        assert stage.seen == [*ASKED, ("user", "Still?")]

        stage.replies = [hanging("")]
        running = asyncio.create_task(answer(dispatcher, job("Hang", "resume", after=three)))
        await until(lambda: stage.was_asked(6))
        running.cancel()
        await asyncio.wait([running])
        assert children() == []
        four = await answer(dispatcher, job("Sure?", "resume", after=three))
    assert stage.seen == [*ASKED, *turn_of("Still?"), ("user", "Sure?")]
    assert [kind(turn) for turn in (one, two, three, four)] == ["new"] * 4


# --- a session and its transcript -------------------------------------------------------------


async def test_a_session_that_is_discarded_takes_its_process_with_it(
    stage: Stage, tmp_path: Path
) -> None:
    """The process ends first: as it ends, it writes."""
    async with serving(stage.profile, live=2) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        assert list(transcripts(tmp_path)) == [one.session_id]
        await dispatcher.discard(one.session_id)
        assert children() == []
        assert transcripts(tmp_path) == {}


async def test_a_process_whose_transcript_was_deleted_does_not_hide_the_loss(
    stage: Stage, tmp_path: Path
) -> None:
    """It knows the conversation, but what it adds would be all that is left after it."""
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        transcripts(tmp_path)[one.session_id].unlink()
        with pytest.raises(SessionLost):
            await answer(dispatcher, job("Who am I?", "resume", after=one))
        assert children() == []
        assert transcripts(tmp_path) == {}
    assert len(stage.api.calls) == 1


async def test_a_process_whose_transcript_was_deleted_does_not_make_one_as_it_ends(
    stage: Stage, tmp_path: Path
) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        transcripts(tmp_path)[one.session_id].unlink()
    assert transcripts(tmp_path) == {}
