"""Which processes wait and which end: the pool and the spares, with processes that are none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sessionbridge.claude.job import Job, Mode
from sessionbridge.claude.live import LiveProcess
from sessionbridge.claude.pool import Pool
from sessionbridge.claude.process import CliProcess
from sessionbridge.claude.spares import Spares
from sessionbridge.errors import ApiFailed, ClaudeFailed
from sessionbridge.turn import Plan, Point
from tests.claude_cli import MODEL, nothing_else_runs, say, until

MODE = Mode("Be brief.", MODEL, "session", compaction=False)
OTHER = replace(MODE, system="Be long.")
LONG = 3600.0


class StandIn(CliProcess):
    """A CLI that only knows whether it runs, and how it was ended."""

    def __init__(self) -> None:
        self.ended: str | None = None
        self.may_finish = asyncio.Event()
        self.may_finish.set()

    @property
    def alive(self) -> bool:
        return self.ended is None

    async def finish(self) -> None:
        await self.may_finish.wait()
        self.ended = self.ended or "finished"

    async def kill(self) -> None:
        self.kill_now()

    def kill_now(self) -> None:
        self.ended = self.ended or "killed"


def process(session: str = "S", mode: Mode = MODE) -> LiveProcess:
    live = LiveProcess(StandIn(), mode, session, 0.0)
    live.tip = f"tip of {session}"
    return live


def cli(live: LiveProcess) -> StandIn:
    assert isinstance(live.cli, StandIn)
    return live.cli


def ended(live: LiveProcess) -> str | None:
    return cli(live).ended


def fail(live: LiveProcess) -> None:
    """It dies, and nobody here has ended it."""
    cli(live).ended = "died"


def next_turn(live: LiveProcess, **changes: Any) -> Job:
    base = Point("hash", live.session_id, str(live.tip), 1, is_tip=True)
    plan = Plan("resume", "test", base, (), say("Next"))
    mode = live.mode
    job = Job(plan, live.session_id, mode.system, mode.model, mode.memory, mode.compaction)
    return replace(job, **changes)


async def finish(live: LiveProcess) -> None:
    await live.cli.finish()


class Slowly:
    """Ends a process no sooner than it may."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun: list[str] = []

    async def __call__(self, live: LiveProcess) -> None:
        self.begun.append(live.session_id)
        await self.may_end.wait()
        await live.cli.finish()


async def a_turn(pool: Pool, live: LiveProcess) -> None:
    pool.enter(live)
    await pool.park(live)


# --- the pool: which process goes on with a job ----------------------------------------------


async def test_the_process_that_waits_at_the_base_takes_the_next_turn() -> None:
    pool = Pool(2, LONG, finish)
    one, two = process("one"), process("two")
    await a_turn(pool, one)
    await a_turn(pool, two)
    assert pool.holds(next_turn(one))
    assert pool.take(next_turn(one)) is one
    assert not pool.holds(next_turn(one))  # it is in that turn now
    assert pool.take(next_turn(two)) is two
    assert (ended(one), ended(two)) == (None, None)


def renamed(job: Job, **changes: Any) -> Job:
    return replace(job, plan=replace(job.plan, **changes))


def at(job: Job, **changes: Any) -> Job:
    assert job.plan.base is not None
    return renamed(job, base=replace(job.plan.base, **changes))


@pytest.mark.parametrize(
    "changed",
    [
        partial(at, entry_uuid="an earlier entry"),
        partial(at, internal_id="another session"),
        partial(renamed, name="fork"),
        partial(renamed, name="fresh", base=None),
        partial(replace, system="Be long."),
        partial(replace, model="claude-opus-4-1"),
        partial(replace, compaction=True),
        partial(replace, memory="none"),
    ],
    ids=["tip", "session", "fork", "fresh", "system", "model", "compaction", "memory"],
)
async def test_a_turn_that_goes_on_elsewhere_or_otherwise_has_no_process(
    changed: Callable[[Job], Job],
) -> None:
    pool = Pool(1, LONG, finish)
    live = process()
    await a_turn(pool, live)
    assert pool.holds(next_turn(live))
    assert not pool.holds(changed(next_turn(live)))


async def test_names_that_choose_the_same_model_share_a_process() -> None:
    pool = Pool(1, LONG, finish)
    live = process(mode=replace(MODE, model="default"))
    await a_turn(pool, live)
    assert pool.holds(next_turn(live, model="gpt-4o"))


async def test_a_process_that_died_while_it_waited_takes_no_turn() -> None:
    pool = Pool(1, LONG, finish)
    live = process()
    await a_turn(pool, live)
    fail(live)
    assert not pool.holds(next_turn(live))


# --- the pool: which processes end ------------------------------------------------------------


async def test_the_one_used_longest_ago_makes_room() -> None:
    pool = Pool(2, LONG, finish)
    one, two, three = process("one"), process("two"), process("three")
    await a_turn(pool, one)
    await a_turn(pool, two)
    await pool.park(pool.take(next_turn(one)))
    await a_turn(pool, three)
    await pool.leave("two")
    assert [ended(live) for live in (one, two, three)] == [None, "finished", None]
    assert pool.holds(next_turn(one)) and pool.holds(next_turn(three))


async def test_a_turn_that_begins_makes_room_for_its_own_process() -> None:
    pool = Pool(1, LONG, finish)
    one, two = process("one"), process("two")
    await a_turn(pool, one)
    pool.enter(two)
    await pool.leave("one")
    assert (ended(one), ended(two)) == ("finished", None)


async def test_turns_under_way_are_not_ended_however_many_they_are() -> None:
    pool = Pool(1, LONG, finish)
    one, two = process("one"), process("two")
    pool.enter(one)
    pool.enter(two)
    assert (ended(one), ended(two)) == (None, None)
    await pool.park(one)
    assert (ended(one), ended(two)) == ("finished", None)
    await pool.park(two)
    assert ended(two) is None


async def test_with_no_place_to_wait_a_process_has_ended_when_its_turn_has() -> None:
    pool = Pool(0, LONG, finish)
    live = process()
    await a_turn(pool, live)
    assert ended(live) == "finished"


@pytest.mark.parametrize("memory", ["none", "continue"])
async def test_a_process_without_a_session_of_its_own_does_not_wait(memory: Any) -> None:
    pool = Pool(9, LONG, finish)
    live = process(mode=replace(MODE, memory=memory))
    await a_turn(pool, live)
    assert ended(live) == "finished"
    assert not pool.holds(next_turn(live))


async def test_a_process_that_died_after_its_answer_does_not_wait() -> None:
    pool = Pool(9, LONG, finish)
    live = process()
    pool.enter(live)
    fail(live)
    await pool.park(live)
    assert not pool.holds(next_turn(live))
    assert nothing_else_runs()


async def test_a_process_ends_when_it_has_waited_long_enough() -> None:
    pool = Pool(2, 0.01, finish)
    live = process()
    await a_turn(pool, live)
    await until(lambda: ended(live) == "finished")
    assert not pool.holds(next_turn(live))


async def test_waiting_ends_with_the_next_turn() -> None:
    pool = Pool(2, 0.01, finish)
    busy, clock = process("busy"), process("clock")
    await a_turn(pool, busy)
    pool.take(next_turn(busy))
    await a_turn(pool, clock)
    await until(lambda: ended(clock))  # whose time began later
    assert ended(busy) is None


async def test_a_process_is_killed_after_a_turn_that_failed() -> None:
    pool = Pool(2, LONG, finish)
    live = process()
    await a_turn(pool, live)
    await pool.drop(pool.take(next_turn(live)))
    assert ended(live) == "killed"
    assert not pool.holds(next_turn(live))


# --- the pool: a session is left, all are left ------------------------------------------------


async def test_a_session_has_been_left_when_its_process_has_ended() -> None:
    slowly = Slowly()
    pool = Pool(2, LONG, slowly)
    one, two = process("one"), process("two")
    await a_turn(pool, one)
    await a_turn(pool, two)
    leaving = asyncio.create_task(pool.leave("one"))
    await until(lambda: slowly.begun == ["one"])
    assert not pool.holds(next_turn(one)) and pool.holds(next_turn(two))
    await pool.leave("nobody is there")
    assert not leaving.done()
    slowly.may_end.set()
    await leaving
    assert (ended(one), ended(two)) == ("finished", None)


async def test_a_session_is_not_free_while_its_process_ends_for_another_reason() -> None:
    slowly = Slowly()
    pool = Pool(1, LONG, slowly)
    live = process("one")
    await a_turn(pool, live)
    pool.enter(process("two"))
    leaving = asyncio.create_task(pool.leave("one"))
    await until(lambda: slowly.begun == ["one"])
    assert not leaving.done()
    slowly.may_end.set()
    await leaving
    assert ended(live) == "finished"


@pytest.mark.parametrize("size", [0, 1], ids=["as its turn ends", "as its session is left"])
async def test_a_process_that_is_ending_ends_whoever_gives_up_waiting_for_that(size: int) -> None:
    slowly = Slowly()
    pool = Pool(size, LONG, slowly)
    live = process("one")
    pool.enter(live)
    parking = asyncio.create_task(pool.park(live))
    if size:
        await parking
        parking = asyncio.create_task(pool.leave("one"))
    await until(lambda: slowly.begun == ["one"])
    parking.cancel()
    await asyncio.wait([parking])
    assert parking.cancelled()
    slowly.may_end.set()
    await pool.leave("one")
    assert ended(live) == "finished"


async def test_closing_ends_those_that_wait_and_lets_turns_end() -> None:
    pool = Pool(2, LONG, finish)
    waits, busy = process("waits"), process("busy")
    await a_turn(pool, waits)
    pool.enter(busy)
    await pool.close()
    assert (ended(waits), ended(busy)) == ("finished", None)
    await pool.park(busy)
    assert ended(busy) == "finished"


async def test_closing_waits_for_those_that_are_ending_already() -> None:
    slowly = Slowly()
    pool = Pool(1, LONG, slowly)
    one, two = process("one"), process("two")
    await a_turn(pool, one)
    await a_turn(pool, two)
    closing = asyncio.create_task(pool.close())
    await until(lambda: slowly.begun == ["one", "two"])
    assert not closing.done()
    slowly.may_end.set()
    await closing
    assert (ended(one), ended(two)) == ("finished", "finished")
    assert nothing_else_runs()


async def test_killing_ends_all_at_once_whatever_they_do() -> None:
    slowly = Slowly()
    pool = Pool(2, LONG, slowly)
    ending, waits, busy = process("ending"), process("waits"), process("busy")
    for live in (ending, waits):
        await a_turn(pool, live)
    pool.enter(busy)  # there is no room for the first any more
    await until(lambda: slowly.begun == ["ending"])
    pool.kill()
    assert [ended(live) for live in (ending, waits, busy)] == ["killed"] * 3
    slowly.may_end.set()
    await pool.close()


# --- spares -----------------------------------------------------------------------------------


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


def spares(starts: Starts, size: int = 1, idle: float = LONG, room: bool = True) -> Spares:
    return Spares(size, idle, starts, lambda: room)


async def prepared(spares: Spares, starts: Starts, *modes: Mode) -> None:
    for mode in modes:
        count = len(starts.made) + 1
        spares.prepare(mode)
        await until(partial(starts.have_made, count))


async def test_a_spare_is_there_for_the_mode_it_was_prepared_for(starts: Starts) -> None:
    ahead = spares(starts)
    assert not ahead.fits(MODE)
    await prepared(ahead, starts, MODE)
    assert ahead.fits(MODE)
    assert not ahead.fits(OTHER)
    assert await ahead.take(MODE) is starts.made[0]
    assert not ahead.fits(MODE)  # each is taken once
    await ahead.close()
    assert ended(starts.made[0]) is None  # it belongs to whoever took it


async def test_one_spare_is_enough_for_a_mode(starts: Starts) -> None:
    ahead = spares(starts, size=2)
    await prepared(ahead, starts, MODE)
    ahead.prepare(MODE)
    await prepared(ahead, starts, OTHER)
    assert starts.begun == [MODE, OTHER]
    await ahead.close()


@pytest.mark.parametrize(("size", "room"), [(0, True), (1, False)], ids=["none wanted", "no room"])
async def test_no_spare_is_started(starts: Starts, size: int, room: bool) -> None:
    ahead = spares(starts, size, room=room)
    ahead.prepare(MODE)
    assert not ahead.fits(MODE)
    assert nothing_else_runs()


async def test_the_oldest_spare_makes_room_for_another_mode(starts: Starts) -> None:
    ahead = spares(starts, size=2)
    third = replace(MODE, compaction=True)
    await prepared(ahead, starts, MODE, OTHER, third)
    await until(lambda: len(starts.running()) == 2)
    assert ended(starts.made[0]) == "finished"
    assert [ahead.fits(mode) for mode in (MODE, OTHER, third)] == [False, True, True]
    await ahead.close()


async def test_a_spare_that_died_is_not_used_and_another_is_prepared(starts: Starts) -> None:
    ahead = spares(starts)
    await prepared(ahead, starts, MODE)
    fail(starts.made[0])
    assert not ahead.fits(MODE)
    await prepared(ahead, starts, MODE)
    assert await ahead.take(MODE) is starts.made[1]
    await ahead.close()


async def test_a_spare_ends_when_it_has_waited_long_enough(starts: Starts) -> None:
    ahead = spares(starts, idle=0.01)
    await prepared(ahead, starts, MODE)
    await until(lambda: ended(starts.made[0]) == "finished")
    assert not ahead.fits(MODE)


async def test_a_spare_that_was_taken_does_not_end_with_its_time(starts: Starts) -> None:
    ahead = spares(starts, idle=0.01)
    ahead.prepare(MODE)
    taken = await ahead.take(MODE)
    await prepared(ahead, starts, MODE)
    await until(lambda: ended(starts.made[1]))  # whose time began later
    assert ended(taken) is None


async def test_a_spare_that_takes_too_long_to_start_is_given_up(starts: Starts) -> None:
    starts.may_start.clear()
    ahead = spares(starts, idle=0.01)
    ahead.prepare(MODE)
    await until(lambda: starts.given_up == 1)
    assert not ahead.fits(MODE)
    await until(nothing_else_runs)


async def test_whoever_takes_a_spare_waits_until_it_has_started(starts: Starts) -> None:
    starts.may_start.clear()
    ahead = spares(starts)
    ahead.prepare(MODE)
    assert ahead.fits(MODE)
    taking = asyncio.create_task(ahead.take(MODE))
    await until(lambda: starts.begun)
    assert not taking.done()
    starts.may_start.set()
    assert await taking is starts.made[0]


@pytest.mark.parametrize("started", [False, True], ids=["while it starts", "as it has started"])
async def test_a_spare_that_nobody_waits_for_any_more_ends(starts: Starts, started: bool) -> None:
    starts.may_start.clear()
    ahead = spares(starts)
    ahead.prepare(MODE)
    taking = asyncio.create_task(ahead.take(MODE))
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
    ahead.prepare(MODE)
    taking = asyncio.create_task(ahead.take(MODE))
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
    ahead.prepare(MODE)
    await until(lambda: not ahead.fits(MODE))
    starts.fails_with = None
    await prepared(ahead, starts, MODE)
    assert await ahead.take(MODE) is starts.made[0]
    await ahead.close()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_closing_ends_all_spares_and_none_is_started_after(starts: Starts) -> None:
    ahead = spares(starts, size=2)
    await prepared(ahead, starts, MODE)
    starts.may_start.clear()
    ahead.prepare(OTHER)
    await until(lambda: starts.begun == [MODE, OTHER])
    await ahead.close()
    assert (starts.given_up, ended(starts.made[0])) == (1, "finished")
    starts.may_start.set()
    ahead.prepare(MODE)
    assert not ahead.fits(MODE)
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
    ahead.prepare(MODE)
    assert not ahead.fits(MODE)
    cli(starts.made[0]).may_finish.set()
    await ahead.close()
