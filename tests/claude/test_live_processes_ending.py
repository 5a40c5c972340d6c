"""How processes that outlive their turn end, in good order or not, and that none is left: with a
stand-in for the CLI.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.errors import ClaudeFailed, SessionLost
from sessionbridge.model import TextDelta
from tests.support.claude_cli import Answer, answer, children, job, until
from tests.support.live_processes import (
    fake,
    gone,
    kind,
    moody,
    only_child,
    serving,
    with_transcript,
)

__all__ = ["fake"]


def in_mood(fake: ClaudeProfile, mood: str) -> ClaudeProfile:
    return replace(fake, extra={"FAKE_CLI": mood})


async def new_child(dispatcher: ClaudeDispatcher, job: Job) -> tuple[Answer, int]:
    before = set(children())
    turn = await answer(dispatcher, job)
    (pid,) = set(children()) - before
    return turn, pid


# --- those that wait --------------------------------------------------------------------------


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


# --- those that die as they are asked ---------------------------------------------------------


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


# --- a transcript that is another -------------------------------------------------------------


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
            async for delta in dispatcher.run(job("Hi", memory="none")):
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
