"""Which process goes on with a job and which end, with processes that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from sessionbridge.claude.cli.live_process import LiveProcess
from sessionbridge.claude.job import Job
from sessionbridge.errors import ClaudeFailed
from sessionbridge.model import Block, Message, Parameters, Plan, Point, Thinking
from tests.support.claude_cli import nothing_else_runs, say, until
from tests.support.stand_in_processes import (
    a_turn,
    asking,
    begin,
    cli,
    done,
    ended,
    fail,
    pool_of,
    process,
)


def next_turn(live: LiveProcess, **changes: Any) -> Job:
    base = Point("hash", live.session_id, str(live.tip), 1, is_tip=True)
    plan = Plan("resume", "test", base, (), say("Next"))
    return replace(asking(live, plan), **changes)


def slow(session: str, *, may_end: asyncio.Event) -> LiveProcess:
    """Ends no sooner than it may."""
    live = process(session)
    cli(live).may_finish = may_end
    return live


def told_to_end(*processes: LiveProcess) -> bool:
    return all(cli(live).told_to_finish for live in processes)


# --- which process goes on with a job ---------------------------------------------------------


async def test_the_process_that_waits_at_the_base_takes_the_next_turn() -> None:
    pool = pool_of(2)
    one, two = process("one"), process("two")
    await a_turn(pool, one)
    await a_turn(pool, two)
    assert pool.holds(next_turn(one))
    assert await pool.acquire(next_turn(one), "live") is one
    assert not pool.holds(next_turn(one))  # it is in that turn now
    assert await pool.acquire(next_turn(two), "live") is two
    assert (ended(one), ended(two)) == (None, None)


async def test_a_turn_with_other_settings_has_its_process() -> None:
    pool = pool_of(1)
    live = process()
    await a_turn(pool, live)
    others = Parameters(max_tokens=7, effort="low", thinking=Thinking())
    assert pool.holds(
        replace(next_turn(live), system="Be long.", parameters=others, compaction=True)
    )


async def test_a_job_whose_process_was_taken_in_between_has_to_go_another_way() -> None:
    pool = pool_of(2)
    live = process()
    await a_turn(pool, live)
    first, second = next_turn(live), next_turn(live)
    assert pool.holds(first) and pool.holds(second)
    await pool.acquire(first, "live")
    for way in ("live", "spare"):
        with pytest.raises(ClaudeFailed):
            await pool.acquire(second, way)
    assert ended(live) is None


def renamed(job: Job, **changes: Any) -> Job:
    return replace(job, plan=replace(job.plan, **changes))


def at(job: Job, **changes: Any) -> Job:
    assert job.plan.base is not None
    return renamed(job, base=replace(job.plan.base, **changes))


@pytest.mark.parametrize(
    "changed",
    [
        partial(at, entry_uuid="an earlier entry"),
        partial(at, session_id="another session"),
        partial(renamed, name="fork"),
        partial(renamed, name="fresh", base=None),
        partial(replace, model="claude-opus-4-1"),
        partial(replace, parameters=Parameters(schema={})),
        partial(replace, system=""),
        partial(replace, memory="none"),
    ],
    ids=["tip", "session", "fork", "fresh", "model", "schema", "no system prompt", "memory"],
)
async def test_a_turn_that_goes_on_elsewhere_or_otherwise_has_no_process(
    changed: Callable[[Job], Job],
) -> None:
    pool = pool_of(1)
    live = process()
    await a_turn(pool, live)
    assert pool.holds(next_turn(live))
    assert not pool.holds(changed(next_turn(live)))


async def test_a_process_that_died_while_it_waited_takes_no_turn() -> None:
    pool = pool_of(1)
    live = process()
    await a_turn(pool, live)
    fail(live)
    assert not pool.holds(next_turn(live))


# --- which processes end ----------------------------------------------------------------------


async def test_the_one_used_longest_ago_makes_room() -> None:
    pool = pool_of(2)
    one, two, three = process("one"), process("two"), process("three")
    await a_turn(pool, one)
    await a_turn(pool, two)
    await pool.release(await pool.acquire(next_turn(one), "live"), done(one))
    await a_turn(pool, three)
    await pool.leave("two")
    assert [ended(live) for live in (one, two, three)] == [None, "finished", None]
    assert pool.holds(next_turn(one)) and pool.holds(next_turn(three))


async def test_a_turn_that_begins_makes_room_for_its_own_process() -> None:
    pool = pool_of(1)
    one, two = process("one"), process("two")
    await a_turn(pool, one)
    await begin(pool, two)
    await pool.leave("one")
    assert (ended(one), ended(two)) == ("finished", None)


async def test_turns_under_way_are_not_ended_however_many_they_are() -> None:
    pool = pool_of(1)
    one, two = process("one"), process("two")
    await begin(pool, one)
    await begin(pool, two)
    assert (ended(one), ended(two)) == (None, None)
    await pool.release(one, done(one))
    assert (ended(one), ended(two)) == ("finished", None)
    await pool.release(two, done(two))
    assert ended(two) is None


async def test_with_no_place_to_wait_a_process_has_ended_when_its_turn_has() -> None:
    pool = pool_of(0)
    live = process()
    await a_turn(pool, live)
    assert ended(live) == "finished"


@pytest.mark.parametrize("memory", ["none", "continue"])
async def test_a_process_without_a_session_of_its_own_does_not_wait(memory: Any) -> None:
    pool = pool_of(9)
    live = process(memory=memory)
    await a_turn(pool, live)
    assert ended(live) == "finished"
    assert not pool.holds(next_turn(live))


async def test_a_process_that_died_after_its_answer_does_not_wait() -> None:
    pool = pool_of(9)
    live = process()
    await begin(pool, live)
    fail(live)
    await pool.release(live, done(live))
    assert not pool.holds(next_turn(live))
    assert nothing_else_runs()


async def test_a_process_ends_when_it_has_waited_long_enough() -> None:
    pool = pool_of(2, idle=0.01)
    live = process()
    await a_turn(pool, live)
    await until(lambda: ended(live) == "finished")
    assert not pool.holds(next_turn(live))


async def test_waiting_ends_with_the_next_turn() -> None:
    pool = pool_of(2, idle=0.01)
    busy, clock = process("busy"), process("clock")
    await a_turn(pool, busy)
    await pool.acquire(next_turn(busy), "live")
    await a_turn(pool, clock)
    await until(lambda: ended(clock))  # whose time began later
    assert ended(busy) is None


async def test_a_process_is_killed_after_a_turn_that_failed() -> None:
    pool = pool_of(2)
    live = process()
    await a_turn(pool, live)
    await pool.release(await pool.acquire(next_turn(live), "live"), None)
    assert ended(live) == "killed"
    assert not pool.holds(next_turn(live))


# --- a session is left, all are left ----------------------------------------------------------


async def test_a_session_has_been_left_when_its_process_has_ended() -> None:
    may_end = asyncio.Event()
    pool = pool_of(2)
    one, two = slow("one", may_end=may_end), process("two")
    await a_turn(pool, one)
    await a_turn(pool, two)
    leaving = asyncio.create_task(pool.leave("one"))
    await until(lambda: told_to_end(one))
    assert not pool.holds(next_turn(one)) and pool.holds(next_turn(two))
    await pool.leave("nobody is there")
    assert not leaving.done()
    may_end.set()
    await leaving
    assert (ended(one), ended(two)) == ("finished", None)


async def test_a_session_is_not_free_while_its_process_ends_for_another_reason() -> None:
    may_end = asyncio.Event()
    pool = pool_of(1)
    live = slow("one", may_end=may_end)
    await a_turn(pool, live)
    await begin(pool, process("two"))
    leaving = asyncio.create_task(pool.leave("one"))
    await until(lambda: told_to_end(live))
    assert not leaving.done()
    may_end.set()
    await leaving
    assert ended(live) == "finished"


@pytest.mark.parametrize("size", [0, 1], ids=["as its turn ends", "as its session is left"])
async def test_a_process_that_is_ending_ends_whoever_gives_up_waiting_for_that(size: int) -> None:
    may_end = asyncio.Event()
    pool = pool_of(size)
    live = slow("one", may_end=may_end)
    await begin(pool, live)
    parking = asyncio.create_task(pool.release(live, done(live)))
    if size:
        await parking
        parking = asyncio.create_task(pool.leave("one"))
    await until(lambda: told_to_end(live))
    parking.cancel()
    await asyncio.wait([parking])
    assert parking.cancelled()
    may_end.set()
    await pool.leave("one")
    assert ended(live) == "finished"


async def test_closing_ends_those_that_wait_and_lets_turns_end() -> None:
    pool = pool_of(2)
    waits, busy = process("waits"), process("busy")
    await a_turn(pool, waits)
    await begin(pool, busy)
    await pool.close()
    assert (ended(waits), ended(busy)) == ("finished", None)
    await pool.release(busy, done(busy))
    assert ended(busy) == "finished"


async def test_closing_waits_for_those_that_are_ending_already() -> None:
    may_end = asyncio.Event()
    pool = pool_of(1)
    one, two = slow("one", may_end=may_end), slow("two", may_end=may_end)
    await a_turn(pool, one)
    await a_turn(pool, two)
    closing = asyncio.create_task(pool.close())
    await until(lambda: told_to_end(one, two))
    assert not closing.done()
    may_end.set()
    await closing
    assert (ended(one), ended(two)) == ("finished", "finished")
    assert nothing_else_runs()


async def test_killing_ends_all_at_once_whatever_they_do() -> None:
    may_end = asyncio.Event()
    pool = pool_of(2)
    ending = slow("ending", may_end=may_end)
    waits, busy = process("waits"), process("busy")
    for live in (ending, waits):
        await a_turn(pool, live)
    await begin(pool, busy)  # there is no room for the first any more
    await until(lambda: told_to_end(ending))
    pool.kill()
    assert [ended(live) for live in (ending, waits, busy)] == ["killed"] * 3
    may_end.set()
    await pool.close()


# --- in the middle of a turn ------------------------------------------------------------------


def waiting(session: str) -> LiveProcess:
    live = process(session)
    live.waits_for = frozenset({"a", "b"})
    return live


def bringing(live: LiveProcess, *calls: str) -> Job:
    blocks: list[Block] = [
        {"type": "tool_result", "tool_use_id": call, "content": "it"} for call in calls
    ]
    return renamed(next_turn(live), ask=Message("user", tuple(blocks)))


async def test_a_process_in_mid_turn_takes_the_results_of_all_its_calls() -> None:
    pool = pool_of(1)
    live = waiting("one")
    await a_turn(pool, live)
    assert pool.holds(bringing(live, "a", "b")) and pool.holds(bringing(live, "b", "a"))
    for job in (next_turn(live), bringing(live, "a"), bringing(live, "a", "b", "c")):
        assert not pool.holds(job)


async def test_a_process_in_mid_turn_makes_room_last() -> None:
    pool = pool_of(2)
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
    assert [ended(live) for live in (open_turn, newest)] == ["killed", "finished"]
    assert [ended(live) for live in (second, third)] == [None, None]


async def test_a_process_in_mid_turn_waits_as_long_as_tools_may_take() -> None:
    pool = pool_of(2, tool_wait=0.01)
    open_turn, idle = waiting("one"), process("two")
    await a_turn(pool, open_turn)
    await a_turn(pool, idle)
    await until(lambda: ended(open_turn) == "killed")
    assert ended(idle) is None
    patient = pool_of(2, idle=0.01)
    other, clock = waiting("one"), process("two")
    await a_turn(patient, other)
    await a_turn(patient, clock)
    await until(lambda: ended(clock) == "finished")
    assert ended(other) is None
