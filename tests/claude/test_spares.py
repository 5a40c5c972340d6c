"""Which spares are started, taken and ended, with processes that are none."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial

import pytest

from sessionbridge.claude.cli.live_process import LiveProcess
from sessionbridge.claude.job import Job, Mode, Settings
from sessionbridge.claude.pool.pool import Pool
from sessionbridge.errors import ApiFailed, ClaudeFailed
from tests.support.claude_cli import nothing_else_runs, until
from tests.support.stand_in_processes import (
    LONG,
    MODE,
    cli,
    ended,
    fail,
    first_turn,
    pool_of,
    process,
)

OTHER = replace(MODE, model="claude-opus-4-5")


class Starts:
    """Starts stand-ins, no sooner than they may."""

    def __init__(self) -> None:
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.fails_with: Exception | None = None
        self.begun: list[Mode] = []
        self.given_up = 0
        self.made: list[LiveProcess] = []

    async def __call__(self, mode: Mode) -> LiveProcess:
        self.begun.append(mode)
        try:
            await self.may_start.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.fails_with:
            raise self.fails_with
        self.made.append(process(f"spare {len(self.made)}", mode))
        return self.made[-1]

    def have_made(self, count: int) -> bool:
        return len(self.made) == count

    def running(self) -> list[LiveProcess]:
        return [live for live in self.made if live.cli.alive]


@pytest.fixture
def starts() -> Starts:
    return Starts()


def spares(starts: Starts, size: int = 1, idle: float = LONG, room: bool = True) -> Pool:
    return pool_of(9, idle, spare=size, start=starts, room=room)


def like(mode: Mode, system: str = "Be brief.") -> Job:
    return first_turn(process(mode=mode, settings=Settings(system)))


async def take(pool: Pool, mode: Mode) -> LiveProcess:
    return await pool.acquire(like(mode), "spare")


async def prepared(spares: Pool, starts: Starts, *modes: Mode) -> None:
    for mode in modes:
        count = len(starts.made) + 1
        spares.prepare(like(mode))
        await until(partial(starts.have_made, count))


async def test_a_spare_is_there_for_the_mode_it_was_prepared_for(starts: Starts) -> None:
    ahead = spares(starts)
    assert not ahead.has_spare(like(MODE))
    await prepared(ahead, starts, MODE)
    assert ahead.has_spare(like(MODE))
    assert not ahead.has_spare(like(OTHER))
    assert await take(ahead, MODE) is starts.made[0]
    assert not ahead.has_spare(like(MODE))  # each is taken once
    await ahead.close()
    assert ended(starts.made[0]) is None  # it belongs to whoever took it


async def test_it_is_there_for_other_settings_too_unless_they_cannot_be_changed(
    starts: Starts,
) -> None:
    ahead = spares(starts)
    await prepared(ahead, starts, MODE)
    other = like(MODE, "Be long.")
    assert ahead.has_spare(other)
    ahead.fixed_models.add(MODE.model)
    assert ahead.has_spare(like(MODE)) and not ahead.has_spare(other)
    await ahead.close()


async def test_one_spare_is_enough_for_a_mode(starts: Starts) -> None:
    ahead = spares(starts, size=2)
    await prepared(ahead, starts, MODE)
    ahead.prepare(like(MODE))
    await prepared(ahead, starts, OTHER)
    assert starts.begun == [MODE, OTHER]
    await ahead.close()


@pytest.mark.parametrize(("size", "room"), [(0, True), (1, False)], ids=["none wanted", "no room"])
async def test_no_spare_is_started(starts: Starts, size: int, room: bool) -> None:
    ahead = spares(starts, size, room=room)
    ahead.prepare(like(MODE))
    assert not ahead.has_spare(like(MODE))
    assert nothing_else_runs()


async def test_the_oldest_spare_makes_room_for_another_mode(starts: Starts) -> None:
    ahead = spares(starts, size=2)
    third = replace(MODE, compaction=True)
    await prepared(ahead, starts, MODE, OTHER, third)
    await until(lambda: len(starts.running()) == 2)
    assert ended(starts.made[0]) == "finished"
    assert [ahead.has_spare(like(mode)) for mode in (MODE, OTHER, third)] == [False, True, True]
    await ahead.close()


async def test_a_spare_that_died_is_not_used_and_another_is_prepared(starts: Starts) -> None:
    ahead = spares(starts)
    await prepared(ahead, starts, MODE)
    fail(starts.made[0])
    assert not ahead.has_spare(like(MODE))
    await prepared(ahead, starts, MODE)
    assert await take(ahead, MODE) is starts.made[1]
    await ahead.close()


async def test_a_spare_ends_when_it_has_waited_long_enough(starts: Starts) -> None:
    ahead = spares(starts, idle=0.01)
    await prepared(ahead, starts, MODE)
    await until(lambda: ended(starts.made[0]) == "finished")
    assert not ahead.has_spare(like(MODE))


async def test_a_spare_that_was_taken_does_not_end_with_its_time(starts: Starts) -> None:
    ahead = spares(starts, idle=0.01)
    ahead.prepare(like(MODE))
    taken = await take(ahead, MODE)
    await prepared(ahead, starts, MODE)
    await until(lambda: ended(starts.made[1]))  # whose time began later
    assert ended(taken) is None


async def test_a_spare_that_takes_too_long_to_start_is_given_up(starts: Starts) -> None:
    starts.may_start.clear()
    ahead = spares(starts, idle=0.01)
    ahead.prepare(like(MODE))
    await until(lambda: starts.given_up == 1)
    assert not ahead.has_spare(like(MODE))
    await until(nothing_else_runs)


async def test_whoever_takes_a_spare_waits_until_it_has_started(starts: Starts) -> None:
    starts.may_start.clear()
    ahead = spares(starts)
    ahead.prepare(like(MODE))
    assert ahead.has_spare(like(MODE))
    taking = asyncio.create_task(take(ahead, MODE))
    await until(lambda: starts.begun)
    assert not taking.done()
    starts.may_start.set()
    assert await taking is starts.made[0]


@pytest.mark.parametrize("started", [False, True], ids=["while it starts", "as it has started"])
async def test_a_spare_that_nobody_waits_for_any_more_ends(starts: Starts, started: bool) -> None:
    starts.may_start.clear()
    ahead = spares(starts)
    ahead.prepare(like(MODE))
    taking = asyncio.create_task(take(ahead, MODE))
    await until(lambda: starts.begun)
    if started:
        starts.may_start.set()
        while not starts.made:  # noqa: ASYNC110  `until` might miss that very moment
            await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait([taking])
    assert taking.cancelled()
    await ahead.close()
    assert (starts.given_up, starts.running()) == (0 if started else 1, [])
    assert nothing_else_runs()


FAILURES = [
    ClaudeFailed("The Claude CLI was not found."),
    ApiFailed(529, "Overloaded."),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_spare_that_fails_to_start_leaves_its_taker_to_another_way(
    starts: Starts, failure: Exception
) -> None:
    starts.may_start.clear()
    starts.fails_with = failure
    ahead = spares(starts)
    ahead.prepare(like(MODE))
    taking = asyncio.create_task(take(ahead, MODE))
    await until(lambda: starts.begun)
    starts.may_start.set()
    with pytest.raises(ClaudeFailed):
        await taking


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_spare_that_failed_to_start_is_told_once_and_not_used(
    starts: Starts, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    starts.fails_with = failure
    ahead = spares(starts)
    ahead.prepare(like(MODE))
    await until(lambda: not ahead.has_spare(like(MODE)))
    starts.fails_with = None
    await prepared(ahead, starts, MODE)
    assert await take(ahead, MODE) is starts.made[0]
    await ahead.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_fault_of_ours_is_told_by_its_kind_alone(
    starts: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    starts.fails_with = ValueError("words of the conversation")
    ahead = spares(starts)
    ahead.prepare(like(MODE))
    await until(lambda: not ahead.has_spare(like(MODE)))
    assert caplog.messages == ["a spare process was not started: ValueError"]


async def test_closing_ends_all_spares_and_none_is_started_after(starts: Starts) -> None:
    ahead = spares(starts, size=2)
    await prepared(ahead, starts, MODE)
    starts.may_start.clear()
    ahead.prepare(like(OTHER))
    await until(lambda: starts.begun == [MODE, OTHER])
    await ahead.close()
    assert (starts.given_up, ended(starts.made[0])) == (1, "finished")
    starts.may_start.set()
    ahead.prepare(like(MODE))
    assert not ahead.has_spare(like(MODE))
    assert nothing_else_runs()


async def test_killing_ends_all_spares_at_once_and_none_is_started_after(starts: Starts) -> None:
    ahead = spares(starts, size=2)
    await prepared(ahead, starts, MODE, OTHER)
    cli(starts.made[0]).may_finish.clear()
    third = replace(MODE, compaction=True)
    await prepared(ahead, starts, third)  # there is no room for the first any more
    assert ended(starts.made[0]) is None
    ahead.kill()
    assert [ended(live) for live in starts.made] == ["killed"] * 3
    ahead.prepare(like(MODE))
    assert not ahead.has_spare(like(MODE))
    cli(starts.made[0]).may_finish.set()
    await ahead.close()
