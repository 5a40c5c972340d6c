"""Which process goes on with a job and which end, with processes that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.live import LiveProcess
from sessionbridge.claude.pool.pool import Pool
from sessionbridge.model import Message, Plan, Point
from tests.support.claude_cli import nothing_else_runs, say, until
from tests.support.stand_in_processes import LONG, MODE, ended, fail, process


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


# --- which process goes on with a job ---------------------------------------------------------


async def test_the_process_that_waits_at_the_base_takes_the_next_turn() -> None:
    pool = Pool(2, LONG, LONG, finish)
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
    pool = Pool(1, LONG, LONG, finish)
    live = process()
    await a_turn(pool, live)
    assert pool.holds(next_turn(live))
    assert not pool.holds(changed(next_turn(live)))


async def test_a_process_that_died_while_it_waited_takes_no_turn() -> None:
    pool = Pool(1, LONG, LONG, finish)
    live = process()
    await a_turn(pool, live)
    fail(live)
    assert not pool.holds(next_turn(live))


# --- which processes end ----------------------------------------------------------------------


async def test_the_one_used_longest_ago_makes_room() -> None:
    pool = Pool(2, LONG, LONG, finish)
    one, two, three = process("one"), process("two"), process("three")
    await a_turn(pool, one)
    await a_turn(pool, two)
    await pool.park(pool.take(next_turn(one)))
    await a_turn(pool, three)
    await pool.leave("two")
    assert [ended(live) for live in (one, two, three)] == [None, "finished", None]
    assert pool.holds(next_turn(one)) and pool.holds(next_turn(three))


async def test_a_turn_that_begins_makes_room_for_its_own_process() -> None:
    pool = Pool(1, LONG, LONG, finish)
    one, two = process("one"), process("two")
    await a_turn(pool, one)
    pool.enter(two)
    await pool.leave("one")
    assert (ended(one), ended(two)) == ("finished", None)


async def test_turns_under_way_are_not_ended_however_many_they_are() -> None:
    pool = Pool(1, LONG, LONG, finish)
    one, two = process("one"), process("two")
    pool.enter(one)
    pool.enter(two)
    assert (ended(one), ended(two)) == (None, None)
    await pool.park(one)
    assert (ended(one), ended(two)) == ("finished", None)
    await pool.park(two)
    assert ended(two) is None


async def test_with_no_place_to_wait_a_process_has_ended_when_its_turn_has() -> None:
    pool = Pool(0, LONG, LONG, finish)
    live = process()
    await a_turn(pool, live)
    assert ended(live) == "finished"


@pytest.mark.parametrize("memory", ["none", "continue"])
async def test_a_process_without_a_session_of_its_own_does_not_wait(memory: Any) -> None:
    pool = Pool(9, LONG, LONG, finish)
    live = process(mode=replace(MODE, memory=memory))
    await a_turn(pool, live)
    assert ended(live) == "finished"
    assert not pool.holds(next_turn(live))


async def test_a_process_that_died_after_its_answer_does_not_wait() -> None:
    pool = Pool(9, LONG, LONG, finish)
    live = process()
    pool.enter(live)
    fail(live)
    await pool.park(live)
    assert not pool.holds(next_turn(live))
    assert nothing_else_runs()


async def test_a_process_ends_when_it_has_waited_long_enough() -> None:
    pool = Pool(2, 0.01, LONG, finish)
    live = process()
    await a_turn(pool, live)
    await until(lambda: ended(live) == "finished")
    assert not pool.holds(next_turn(live))


async def test_waiting_ends_with_the_next_turn() -> None:
    pool = Pool(2, 0.01, LONG, finish)
    busy, clock = process("busy"), process("clock")
    await a_turn(pool, busy)
    pool.take(next_turn(busy))
    await a_turn(pool, clock)
    await until(lambda: ended(clock))  # whose time began later
    assert ended(busy) is None


async def test_a_process_is_killed_after_a_turn_that_failed() -> None:
    pool = Pool(2, LONG, LONG, finish)
    live = process()
    await a_turn(pool, live)
    await pool.drop(pool.take(next_turn(live)))
    assert ended(live) == "killed"
    assert not pool.holds(next_turn(live))


# --- a session is left, all are left ----------------------------------------------------------


async def test_a_session_has_been_left_when_its_process_has_ended() -> None:
    slowly = Slowly()
    pool = Pool(2, LONG, LONG, slowly)
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
    pool = Pool(1, LONG, LONG, slowly)
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
    pool = Pool(size, LONG, LONG, slowly)
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
    pool = Pool(2, LONG, LONG, finish)
    waits, busy = process("waits"), process("busy")
    await a_turn(pool, waits)
    pool.enter(busy)
    await pool.close()
    assert (ended(waits), ended(busy)) == ("finished", None)
    await pool.park(busy)
    assert ended(busy) == "finished"


async def test_closing_waits_for_those_that_are_ending_already() -> None:
    slowly = Slowly()
    pool = Pool(1, LONG, LONG, slowly)
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
    pool = Pool(2, LONG, LONG, slowly)
    ending, waits, busy = process("ending"), process("waits"), process("busy")
    for live in (ending, waits):
        await a_turn(pool, live)
    pool.enter(busy)  # there is no room for the first any more
    await until(lambda: slowly.begun == ["ending"])
    pool.kill()
    assert [ended(live) for live in (ending, waits, busy)] == ["killed"] * 3
    slowly.may_end.set()
    await pool.close()


# --- in the middle of a turn ------------------------------------------------------------------


def waiting(session: str) -> LiveProcess:
    live = process(session)
    live.waits_for = frozenset({"a", "b"})
    return live


def bringing(live: LiveProcess, *calls: str) -> Job:
    blocks = tuple({"type": "tool_result", "tool_use_id": call, "content": "it"} for call in calls)
    return renamed(next_turn(live), ask=Message("user", blocks))


async def test_a_process_in_mid_turn_takes_the_results_of_all_its_calls() -> None:
    pool = Pool(1, LONG, LONG, finish)
    live = waiting("one")
    await a_turn(pool, live)
    assert pool.holds(bringing(live, "a", "b")) and pool.holds(bringing(live, "b", "a"))
    for job in (next_turn(live), bringing(live, "a"), bringing(live, "a", "b", "c")):
        assert not pool.holds(job)


async def test_a_process_in_mid_turn_makes_room_last() -> None:
    pool = Pool(2, LONG, LONG, finish)
    open_turn, idle, newest = waiting("one"), process("two"), process("three")
    await a_turn(pool, open_turn)
    await a_turn(pool, idle)
    await a_turn(pool, newest)
    await pool.leave("two")
    assert [ended(live) for live in (open_turn, idle, newest)] == [None, "finished", None]
    second, third = waiting("four"), waiting("five")
    await a_turn(pool, second)
    await a_turn(pool, third)
    await pool.leave("one")
    assert [ended(live) for live in (open_turn, newest)] == ["finished", "finished"]
    assert [ended(live) for live in (second, third)] == [None, None]


async def test_a_process_in_mid_turn_waits_as_long_as_tools_may_take() -> None:
    pool = Pool(2, LONG, 0.01, finish)
    open_turn, idle = waiting("one"), process("two")
    await a_turn(pool, open_turn)
    await a_turn(pool, idle)
    await until(lambda: ended(open_turn) == "finished")
    assert ended(idle) is None
    patient = Pool(2, 0.01, LONG, finish)
    other, clock = waiting("one"), process("two")
    await a_turn(patient, other)
    await a_turn(patient, clock)
    await until(lambda: ended(clock) == "finished")
    assert ended(other) is None
