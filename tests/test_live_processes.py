"""Processes that outlive their turn, and those that are started ahead of one.

What a conversation is made of is shown with the real CLI; which processes there are, with a
stand-in that starts sooner.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest

from sessionbridge.claude.dispatcher import ClaudeDispatcher, Keep
from sessionbridge.claude.job import Job
from sessionbridge.claude.launcher import ClaudeProfile
from sessionbridge.cli.scripted_api import Failure, Reply
from sessionbridge.errors import ApiFailed, ClaudeFailed, SessionLost
from sessionbridge.turn import Dispatched, Finished, Message, TextDelta, Usage
from tests.claude_cli import (
    MODEL,
    USAGE,
    Answer,
    Stage,
    answer,
    blocks_of,
    children,
    command_line,
    environment_of,
    fake_cli,
    isolated,
    job,
    profile,
    say,
    staged,
    until,
)

ANN = [("user", "My name is Ann"), ("assistant", "Nice to meet you, Ann!")]


def turn_of(asked: str) -> list[tuple[str, str]]:
    return [("user", asked), ("assistant", "Your name is Ann.")]


ASKED = [*ANN, *turn_of("Who am I?")]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        yield stage
    assert list((tmp_path / "home").glob("run/*")) == []


@asynccontextmanager
async def serving(
    profile: ClaudeProfile, *, room: bool = True, **keep: Any
) -> AsyncIterator[ClaudeDispatcher]:
    """A dispatcher that leaves no process when it is closed."""
    dispatcher = ClaudeDispatcher(profile, Keep(**keep), lambda: room)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()
        left = children()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: children() == [])
    assert left == []


def only_child() -> int:
    (pid,) = children()
    return pid


def gone(pid: int) -> bool:
    return pid not in children()


def kind(turn: Answer) -> str:
    return turn.dispatched.process


def price(usage: Usage) -> float:
    """US dollars, of the model that tests use."""
    fresh = usage.input_tokens * 3 + usage.output_tokens * 15
    cached = usage.cache_creation_input_tokens * 3.75 + usage.cache_read_input_tokens * 0.3
    return (fresh + cached) / 1e6


def transcripts(tmp_path: Path) -> dict[str, Path]:
    return {path.stem: path for path in (tmp_path / "config").rglob("*.jsonl")}


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


async def test_other_settings_take_a_process_of_their_own_after_the_other_has_ended(
    stage: Stage, tmp_path: Path
) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"system": "Be long."},
        {"model": "claude-haiku-4-5"},
        {"compaction": True},
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
        assert "DISABLE_AUTO_COMPACT" not in environment_of(pids[-1])
    assert stage.seen == [*ANN, *turn_of("?"), *turn_of("?"), ("user", "?")]
    called = [call.body for call in stage.api.calls]
    assert [body["model"] for body in called] == [MODEL, MODEL, *["claude-haiku-4-5"] * 2]
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


# --- spares -----------------------------------------------------------------------------------


async def test_a_new_conversation_is_answered_by_a_process_that_was_there_before(
    stage: Stage, tmp_path: Path
) -> None:
    async with serving(stage.profile, live=2, spare=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Bob"))
        first = only_child()
        await until(lambda: len(children()) == 2)
        (spare,) = set(children()) - {first}
        two = await answer(dispatcher, job("My name is Ann"))
        assert (kind(one), kind(two)) == ("new", "spare")
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
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="},
}
SHOWN = (Message("user", ({"type": "text", "text": "Look"}, IMAGE)), say("I see", "assistant"))


def planned(job: Job, **changes: Any) -> Job:
    return replace(job, plan=replace(job.plan, **changes))


async def test_a_spare_is_given_a_short_conversation_word_for_word(stage: Stage) -> None:
    """An import, a fork whose client holds it all, and not what feeding would change."""
    async with serving(stage.profile, live=9, spare=1) as dispatcher:
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
    assert kinds == ["new", "spare", "spare", "new"]


# --- which processes there are, with a stand-in -----------------------------------------------


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ClaudeProfile:
    return profile(tmp_path, isolated(monkeypatch, tmp_path), cli=fake_cli(tmp_path))


def in_mood(fake: ClaudeProfile, mood: str) -> ClaudeProfile:
    return replace(fake, extra={"FAKE_CLI": mood})


def moody(fake: ClaudeProfile, tmp_path: Path) -> tuple[ClaudeProfile, Callable[[str], Any]]:
    """One whose mood can be set for all that are started from then on."""
    program, mood = tmp_path / "moody", tmp_path / "mood"
    program.write_text(f'#!/bin/sh\nFAKE_CLI=$(cat {mood}) exec {fake.cli} "$@"\n')
    program.chmod(0o755)
    mood.write_text("answer")
    return replace(fake, cli=program), mood.write_text


def with_transcript(profile: ClaudeProfile, session_id: str) -> Path:
    """The stand-in writes none, and its answers are the entry `answer`."""
    path = profile.transcript(session_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"parentUuid":null,"uuid":"answer"}\n')
    return path


async def new_child(dispatcher: ClaudeDispatcher, job: Job) -> tuple[Answer, int]:
    before = set(children())
    turn = await answer(dispatcher, job)
    (pid,) = set(children()) - before
    return turn, pid


async def test_no_more_wait_than_may_and_the_one_used_longest_ago_ends(
    fake: ClaudeProfile,
) -> None:
    async with serving(fake, live=2) as dispatcher:
        one, first = await new_child(dispatcher, job("Hi"))
        _, second = await new_child(dispatcher, job("Hi"))
        assert kind(await answer(dispatcher, job("Hi", "resume", after=one))) == "live"
        _, third = await new_child(dispatcher, job("Hi"))
        await until(lambda: gone(second))
        assert set(children()) == {first, third}


async def test_a_process_ends_when_it_has_waited_long_enough(fake: ClaudeProfile) -> None:
    async with serving(fake, live=1, spare=1, idle=0.05) as dispatcher:
        await answer(dispatcher, job("Hi"))
        await until(lambda: children() == [])


@pytest.mark.parametrize(
    ("live", "memory"), [(0, "session"), (0, "none"), (4, "none"), (4, "continue")]
)
async def test_a_process_that_may_not_wait_ends_with_its_turn(
    fake: ClaudeProfile, live: int, memory: Any
) -> None:
    async with serving(fake, live=live) as dispatcher:
        for _ in range(2):
            assert kind(await answer(dispatcher, job("Hi", memory=memory))) == "new"
            assert children() == []


async def test_a_process_that_dies_as_it_is_asked_is_replaced_without_a_word(
    fake: ClaudeProfile,
) -> None:
    async with serving(in_mood(fake, "leaves_when_asked_again"), live=1) as dispatcher:
        start = job("Hi")
        with_transcript(fake, start.session_id)
        one, first = await new_child(dispatcher, start)
        two, second = await new_child(dispatcher, job("Hi", "resume", after=one))
        assert gone(first)
        assert (kind(two), two.text) == ("new", "Hello there")
        assert two.session_id == one.session_id
        assert first != second


async def test_what_was_said_cannot_be_taken_back_by_asking_another(fake: ClaudeProfile) -> None:
    async with serving(in_mood(fake, "breaks_off_when_asked_again"), live=1) as dispatcher:
        start = job("Hi")
        with_transcript(fake, start.session_id)
        one = await answer(dispatcher, start)
        with pytest.raises(ClaudeFailed):
            await answer(dispatcher, job("Hi", "resume", after=one))
        assert children() == []


def renamed_over(path: Path, content: str) -> None:
    other = path.with_name("other")
    other.write_text(content)
    other.replace(path)


def made_anew(path: Path, content: str) -> None:
    path.unlink()
    path.write_text(content)  # a file system may give it the number of the one before


@pytest.mark.parametrize("replaced", [renamed_over, made_anew])
async def test_a_process_whose_transcript_was_replaced_does_not_hide_the_loss(
    fake: ClaudeProfile, replaced: Callable[[Path, str], None]
) -> None:
    async with serving(fake, live=1) as dispatcher:
        start = job("Hi")
        path = with_transcript(fake, start.session_id)
        one, pid = await new_child(dispatcher, start)
        replaced(path, "")
        with pytest.raises(SessionLost):
            await answer(dispatcher, job("Hi", "resume", after=one))
        assert gone(pid)


async def test_a_transcript_that_was_put_back_is_resumed(fake: ClaudeProfile) -> None:
    async with serving(fake, live=1) as dispatcher:
        start = job("Hi")
        path = with_transcript(fake, start.session_id)
        one, pid = await new_child(dispatcher, start)
        renamed_over(path, path.read_text())
        assert kind(await answer(dispatcher, job("Hi", "resume", after=one))) == "new"
        assert gone(pid)


async def with_a_spare(dispatcher: ClaudeDispatcher, first: Job) -> int:
    """The pid of the spare that its turn leaves; there is no other process."""
    await answer(dispatcher, first)
    await until(children)
    return only_child()


async def test_a_spare_is_for_its_settings_and_there_is_one_at_a_time(
    fake: ClaudeProfile,
) -> None:
    async with serving(fake, spare=1) as dispatcher:
        spare = await with_a_spare(dispatcher, job("Hi"))
        other = await answer(dispatcher, job("Hi", system="Be long."))
        assert kind(other) == "new"
        await until(lambda: gone(spare) and len(children()) == 1)
        again = await answer(dispatcher, job("Hi", system="Be long."))
        assert kind(again) == "spare"


async def test_there_are_no_more_spares_than_may_be(fake: ClaudeProfile) -> None:
    async with serving(fake, spare=2) as dispatcher:
        for system in ("one", "two", "three"):
            assert kind(await answer(dispatcher, job("Hi", system=system))) == "new"
        await until(lambda: len(children()) == 2)
        kinds = [kind(await answer(dispatcher, job("Hi", system=s))) for s in ("three", "two")]
        assert kinds == ["spare", "spare"]


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


async def test_a_spare_that_fails_when_it_is_asked_is_replaced(
    fake: ClaudeProfile, tmp_path: Path
) -> None:
    changing, set_mood = moody(fake, tmp_path)
    async with serving(changing, spare=1) as dispatcher:
        async with aclosing(dispatcher.run(job("Hi"))) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finished):
                    set_mood("loses_fed")
        await until(children)
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
        async with aclosing(dispatcher.run(job("Hi"))) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finished):
                    set_mood("mute")
        await until(children)
        if given_up == "by its request":
            running = asyncio.create_task(answer(dispatcher, job("Hi")))
            await asyncio.wait([running], timeout=0)
            running.cancel()
            await asyncio.wait([running])
            await until(lambda: children() == [])


# --- the end of all of them -------------------------------------------------------------------


async def test_closing_waits_for_no_turn_and_killing_ends_those_too(
    fake: ClaudeProfile, tmp_path: Path
) -> None:
    changing, set_mood = moody(fake, tmp_path)
    async with serving(changing, live=3, spare=1) as dispatcher:
        _, waits = await new_child(dispatcher, job("Hi"))
        await until(lambda: len(children()) == 2)
        set_mood("hang")
        told = asyncio.Event()

        async def busy() -> None:
            async for delta in dispatcher.run(job("Hi", system="Be long.")):
                if isinstance(delta, TextDelta):
                    told.set()

        turn = asyncio.create_task(busy())
        await told.wait()
        assert len(children()) == 3
        await dispatcher.close()
        assert gone(waits)
        only_child()
        dispatcher.kill()
        with pytest.raises(ClaudeFailed):
            await turn
        assert children() == []


async def test_killing_ends_those_that_wait_at_once(fake: ClaudeProfile) -> None:
    async with serving(fake, live=1, spare=1) as dispatcher:
        await answer(dispatcher, job("Hi"))
        await until(lambda: len(children()) == 2)
        dispatcher.kill()
        await until(lambda: children() == [])


async def test_after_closing_a_turn_leaves_no_process(fake: ClaudeProfile) -> None:
    async with serving(fake, live=1, spare=1) as dispatcher:
        await dispatcher.close()
        assert kind(await answer(dispatcher, job("Hi"))) == "new"
        assert children() == []


class Cancels(ThreadPoolExecutor):
    """Cancels the task as work of that number is handed to a thread: all that is awaited there can
    end in a cancellation."""

    def __init__(self, number: int) -> None:
        super().__init__(1)
        self.task: asyncio.Task[Any] | None = None
        self._left = number

    def submit[**P, T](self, work: Callable[P, T], /, *args: P.args, **kw: P.kwargs) -> Future[T]:
        if self.task is not None:
            self._left -= 1
            if self._left == 0:
                self.task.cancel()
        return super().submit(work, *args, **kw)


@pytest.mark.parametrize("turn", ["new", "live", "spare", "closed"])
async def test_a_turn_that_is_cancelled_at_any_moment_leaves_no_process(
    fake: ClaudeProfile, turn: str
) -> None:
    cancelled = True
    number = 0
    while cancelled:
        number += 1
        async with serving(fake, live=1, spare=int(turn == "spare")) as dispatcher:
            start = job("Hi")
            with_transcript(fake, start.session_id)
            if turn in ("live", "spare"):
                start = job("Hi", "resume", after=await answer(dispatcher, start))
            if turn == "spare":
                start = job("Hi")
                await until(lambda: len(children()) == 2)
            if turn == "closed":
                await dispatcher.close()
            executor = Cancels(number)
            asyncio.get_running_loop().set_default_executor(executor)
            running = executor.task = asyncio.create_task(answer(dispatcher, start))
            await asyncio.wait([running])
            executor.task = None
            cancelled = running.cancelled()
    assert number > 1
