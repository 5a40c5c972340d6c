"""Processes that are started ahead of a turn. What a conversation is made of is shown with the real
CLI; which processes there are, with a stand-in.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.model import Block, Dispatched, Finished, Message, Parameters, TextDelta
from tests.support.claude_cli import (
    Stage,
    answer,
    blocks_of,
    children,
    command_line,
    environment_of,
    job,
    say,
    until,
)
from tests.support.live_processes import (
    ANN,
    ASKED,
    fake,
    gone,
    kind,
    moody,
    only_child,
    price,
    serving,
    stage,
    transcripts,
    with_transcript,
)

__all__ = ["fake", "stage"]


# --- what a conversation is made of -----------------------------------------------------------


async def test_a_new_conversation_is_answered_by_a_process_that_was_there_before(
    stage: Stage, tmp_path: Path
) -> None:
    async with serving(stage.profile, live=2, spare=1) as dispatcher:
        dispatcher.start()
        await until(lambda: len(children()) == 1)
        first = only_child()
        one = await answer(dispatcher, job("My name is Bob"))
        await until(lambda: len(children()) == 2)
        (spare,) = set(children()) - {first}
        two = await answer(dispatcher, job("My name is Ann"))
        assert (kind(one), kind(two)) == ("spare", "spare")
        assert stage.seen == ANN[:1]
        assert two.session_id == two.dispatched.session_id != one.session_id
        three = await answer(dispatcher, job("Who am I?", "resume", after=two))
        assert kind(three) == "live"
        await until(lambda: len(children()) == 3)  # the next one
        assert {first, spare} < set(children())
    assert set(transcripts(tmp_path)) == {one.session_id, two.session_id}
    four = await stage.answer(job("Still?", "resume", after=three))
    assert four.session_id == two.session_id
    assert stage.seen == [*ASKED, ("user", "Still?")]
    for turn in (two, three, four):
        assert turn.cost == pytest.approx(price(turn.finished.usage))


SIX = tuple(say(f"word {n}", ("user", "assistant")[n % 2]) for n in range(6))
IMAGE: Block = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="},
}
SHOWN = (Message("user", ({"type": "text", "text": "Look"}, IMAGE)), say("I see", "assistant"))


def planned(job: Job, **changes: Any) -> Job:
    return replace(job, plan=replace(job.plan, **changes))


async def test_a_spare_is_given_a_short_conversation_word_for_word(stage: Stage) -> None:
    """An import, a fork whose client holds it all, and images as they are."""
    async with serving(stage.profile, live=9, spare=4) as dispatcher:
        dispatcher.start()
        await until(lambda: dispatcher.processes == (0, 4))
        one = await answer(dispatcher, job("My name is Ann"))
        imported = await answer(dispatcher, job("What now?", "import", feed=SIX))
        assert stage.blocks == blocks_of(*SIX, say("What now?"))
        assert len(imported.finished.entries) == 8

        whole = (say("My name is Ann"), say("Nice to meet you, Ann!", "assistant"), *SIX)
        branch = job("And now?", "fork", after=one, feed=SIX)
        forked = await answer(dispatcher, planned(branch, whole=whole))
        assert stage.blocks == blocks_of(*whole, say("And now?"))
        assert forked.dispatched.plan.base is None
        assert forked.session_id == forked.dispatched.session_id
        assert "--resume" not in forked.dispatched.command

        seen = await answer(dispatcher, job("What is it?", "import", feed=SHOWN))
        assert stage.blocks == blocks_of(*SHOWN, say("What is it?"))
    kinds = [kind(turn) for turn in (one, imported, forked, seen)]
    assert kinds == ["spare"] * 4


# --- which processes there are ----------------------------------------------------------------


async def with_a_spare(dispatcher: ClaudeDispatcher, first: Job) -> int:
    """The pid of the spare that its turn leaves; there is no other process."""
    await answer(dispatcher, first)
    await until(lambda: any(map(command_line, children())))  # none at first
    return only_child()


OTHERS = ("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-5")


async def with_a_moody_spare(
    dispatcher: ClaudeDispatcher, set_mood: Callable[[str], Any], mood: str
) -> None:
    """The turn itself succeeds; the mood is that of the spare that it leaves."""
    async with aclosing(dispatcher.run(job("Hi"))) as deltas:
        async for delta in deltas:
            if isinstance(delta, Finished):
                set_mood(mood)
    # A child alone may not have read its mood yet.
    await until(lambda: [environment_of(pid).get("FAKE_CLI") for pid in children()] == [mood])


async def test_as_many_as_are_wanted_are_there_before_the_first_turn(fake: ClaudeProfile) -> None:
    async with serving(fake, spare=3) as dispatcher:
        dispatcher.start()
        await until(lambda: len(children()) == 3)
        jobs = [job("Hi", model=model) for model in OTHERS]
        turns = await asyncio.gather(*(answer(dispatcher, each) for each in jobs))
        assert [kind(turn) for turn in turns] == ["spare"] * 3
        await until(lambda: len(children()) == 3)  # the next ones


@pytest.mark.parametrize(("spare", "room"), [(0, True), (1, False)], ids=["none", "no room"])
async def test_no_spare_is_started(fake: ClaudeProfile, spare: int, room: bool) -> None:
    async with serving(fake, spare=spare, room=room) as dispatcher:
        for _ in range(2):
            assert kind(await answer(dispatcher, job("Hi"))) == "new"
            assert children() == []


async def test_resuming_and_continue_are_left_to_processes_that_do(fake: ClaudeProfile) -> None:
    async with serving(fake, spare=1) as dispatcher:
        start = job("Hi")
        with_transcript(fake, start.session_id)
        one = await answer(dispatcher, start)
        await until(children)
        resumed = planned(job("Hi", "resume", after=one), whole=())
        continued = job("Hi", memory="continue")
        assert [kind(await answer(dispatcher, it)) for it in (resumed, continued)] == ["new"] * 2


async def test_a_spare_that_was_killed_is_not_used(fake: ClaudeProfile) -> None:
    async with serving(fake, spare=1) as dispatcher:
        spare = await with_a_spare(dispatcher, job("Hi"))
        os.kill(spare, signal.SIGKILL)
        await until(lambda: gone(spare))
        assert kind(await answer(dispatcher, job("Hi"))) == "new"
        os.kill(await with_a_spare(dispatcher, job("Hi")), signal.SIGKILL)
        asked_at_once = await answer(dispatcher, job("Hi"))
        assert (kind(asked_at_once), asked_at_once.text) == ("new", "Hello there")


@pytest.mark.parametrize(
    "begun, moment",
    [
        (False, "before it begins"),
        (False, "as it begins"),
        (False, "while it is told more"),
        (True, "before it begins"),
        (True, "while it is told more"),
    ],
)
async def test_a_spare_may_die_at_any_moment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, begun: bool, moment: str
) -> None:
    """Nothing of the turn is lost, and the next conversation has a spare again."""
    dies = [True]

    def dying(name: str) -> None:
        as_it_is = getattr(CliProcess, name)

        async def dies_first(cli: CliProcess, request: Any) -> None:
            if dies and cli.pid is not None and cli.pid in spares:
                dies.clear()
                os.kill(cli.pid, signal.SIGKILL)
                if moment == "before it begins":
                    await until(lambda: not cli.alive)
            await as_it_is(cli, request)

        monkeypatch.setattr(CliProcess, name, dies_first)

    parameters = Parameters(max_tokens=9) if begun else Parameters(schema={"type": "object"})
    async with serving(stage.profile, live=9, spare=2, quiet=0) as dispatcher:
        dispatcher.start()
        await until(lambda: dispatcher.processes == (0, 2))
        await until(lambda: len(children()) == 2)
        spares = set(children())
        dying("set" if begun or moment == "while it is told more" else "begin")
        feed = SIX if begun else ()
        asked = job("What now?", "import", feed=feed, parameters=parameters)
        turn = await answer(dispatcher, asked)
        assert (kind(turn), dies) == ("new", [])
        assert stage.blocks[: len(feed) + 1] == blocks_of(*feed, say("What now?"))
        await until(lambda: dispatcher.processes[1] == 2)
        assert kind(await answer(dispatcher, job("My name is Ann"))) == "spare"


async def test_a_spare_that_fails_when_it_is_asked_is_replaced(
    fake: ClaudeProfile, tmp_path: Path
) -> None:
    changing, set_mood = moody(fake, tmp_path)
    async with serving(changing, spare=1) as dispatcher:
        await with_a_moody_spare(dispatcher, set_mood, "loses_fed")
        set_mood("answer")
        turn = await answer(dispatcher, job("Hi"))
        assert (kind(turn), turn.text) == ("new", "Hello there")


async def test_a_spare_is_told_what_is_to_be_kept(fake: ClaudeProfile) -> None:
    async with serving(fake, spare=1) as dispatcher:
        spare = await with_a_spare(dispatcher, job("Hi", memory="none"))
        assert "--no-session-persistence" in command_line(spare)
        assert kind(await answer(dispatcher, job("Hi"))) == "new"


async def test_a_spare_whose_turn_came_to_nothing_leaves_no_transcript(
    fake: ClaudeProfile,
) -> None:
    """It is in a session of its own, which is not the one the job had in mind."""
    async with serving(fake, live=1, spare=1) as dispatcher:
        await answer(dispatcher, job("Hi"))
        await until(lambda: len(children()) == 2)
        async with aclosing(dispatcher.run(job("Hi"))) as deltas:
            async for delta in deltas:
                if isinstance(delta, Dispatched):
                    assert delta.process == "spare"
                    path = with_transcript(fake, delta.session_id)
                if isinstance(delta, TextDelta):
                    assert path.exists()
                    break
        assert not path.exists()


@pytest.mark.parametrize("given_up", ["by its request", "by closing"])
async def test_a_spare_that_never_starts_leaves_no_process(
    fake: ClaudeProfile, tmp_path: Path, given_up: str
) -> None:
    changing, set_mood = moody(fake, tmp_path)
    async with serving(changing, spare=1) as dispatcher:
        await with_a_moody_spare(dispatcher, set_mood, "mute")
        if given_up == "by its request":
            running = asyncio.create_task(answer(dispatcher, job("Hi")))
            await asyncio.wait([running], timeout=0)
            running.cancel()
            await asyncio.wait([running])
            await until(lambda: children() == [])
