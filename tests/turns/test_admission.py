"""As many turns at once as allowed, in order, and no place lost to one that has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sessionbridge.errors import Overloaded
from sessionbridge.turns.admission import Admission
from tests.support.turn_tasks import TurnTask


@asynccontextmanager
async def inside(admission: Admission, session: asyncio.Lock) -> AsyncIterator[None]:
    with admission.turn() as place:
        if session.locked():
            place.queue_up()
        async with session, place.slot():
            yield


class Visitor(TurnTask):
    """`session` is what it waits for before its slot."""

    def __init__(self, admission: Admission, session: asyncio.Lock | None = None) -> None:
        super().__init__(inside(admission, session or asyncio.Lock()))

    async def refusal(self) -> str:
        with pytest.raises(Overloaded) as caught:
            await self.task
        return caught.value.message


async def come_in(
    admission: Admission, number: int, session: asyncio.Lock | None = None
) -> list[Visitor]:
    visitors = [Visitor(admission, session) for _ in range(number)]
    await asyncio.sleep(0)
    return visitors


def counts(admission: Admission) -> tuple[int, int]:
    return admission.running_now, admission.waiting_now


async def test_so_many_run_so_many_wait_and_the_next_is_refused() -> None:
    admission = Admission(concurrency=2, queue=3)
    *inside, refused = await come_in(admission, 6)
    message = await refused.refusal()
    assert counts(admission) == (2, 3)
    assert "running: 2 of 2, waiting: 3 of 3" in message
    assert "sessionbridge_concurrency" in message and "sessionbridge_queue" in message
    for visitor in inside:
        await visitor.runs.wait()
        await visitor.end()
    assert counts(admission) == (0, 0)


async def test_slots_are_given_in_order_of_arrival() -> None:
    admission = Admission(concurrency=1, queue=4)
    visitors = await come_in(admission, 5)
    for number, visitor in enumerate(visitors):
        await visitor.runs.wait()
        assert [other.runs.is_set() for other in visitors].count(True) == number + 1
        await visitor.end()


async def test_without_a_queue_one_that_need_not_wait_comes_in() -> None:
    admission = Admission(concurrency=2, queue=0)
    first, second, refused = await come_in(admission, 3)
    await refused.refusal()
    await first.end()
    (third,) = await come_in(admission, 1)
    assert third.runs.is_set()
    for visitor in (second, third):
        await visitor.end()


async def test_waiting_for_the_session_counts_and_stops_no_other_session() -> None:
    admission, session = Admission(concurrency=9, queue=2), asyncio.Lock()
    *inside, refused = await come_in(admission, 4, session)
    assert "running: 1 of 9, waiting: 2 of 2" in await refused.refusal()
    (other,) = await come_in(admission, 1)
    assert counts(admission) == (2, 2) and other.runs.is_set()
    for visitor in (other, *inside):
        await visitor.end()


async def test_one_that_has_waited_for_its_session_is_not_refused_a_slot() -> None:
    admission, session = Admission(concurrency=1, queue=1), asyncio.Lock()
    await session.acquire()
    (patient,) = await come_in(admission, 1, session)
    (running,) = await come_in(admission, 1)
    session.release()
    await asyncio.sleep(0)
    assert counts(admission) == (1, 1) and session.locked()
    (refused,) = await come_in(admission, 1)
    await refused.refusal()
    await running.end()
    await patient.runs.wait()
    assert counts(admission) == (1, 0)
    await patient.end()


async def test_one_that_leaves_the_queue_makes_room_at_once() -> None:
    admission = Admission(concurrency=1, queue=2)
    running, gone, patient = await come_in(admission, 3)
    await gone.leave()
    assert counts(admission) == (1, 1)
    (late,) = await come_in(admission, 1)
    for visitor in (running, patient, late):
        await visitor.runs.wait()
        await visitor.end()
    assert counts(admission) == (0, 0)


async def test_one_that_leaves_while_it_waits_for_its_session_makes_room_at_once() -> None:
    admission, session = Admission(concurrency=1, queue=1), asyncio.Lock()
    running, gone = await come_in(admission, 2, session)
    await gone.leave()
    assert counts(admission) == (1, 0)
    await running.end()


@pytest.mark.parametrize("steps", range(4))
async def test_a_slot_given_to_one_that_leaves_is_passed_on(steps: int) -> None:
    """Cancelled before, while and after it is woken with the slot."""
    admission = Admission(concurrency=1, queue=2)
    running, gone, patient = await come_in(admission, 3)
    end = asyncio.create_task(running.end())
    for _ in range(steps):
        await asyncio.sleep(0)
    await gone.leave()
    await end
    await patient.runs.wait()
    assert counts(admission) == (1, 0)
    await patient.end()
    assert counts(admission) == (0, 0)


async def test_a_slot_given_up_and_one_ended_are_both_passed_on() -> None:
    admission = Admission(concurrency=2, queue=4)
    first, second, *waiting = await come_in(admission, 6)
    first.task.cancel()
    waiting[0].task.cancel()
    await second.end()
    for visitor in waiting[1:3]:
        await visitor.runs.wait()
    assert counts(admission) == (2, 1)
    for visitor in waiting[1:]:
        await visitor.end()


async def test_a_turn_that_fails_gives_its_slot_back() -> None:
    admission = Admission(concurrency=1, queue=0)
    for _ in range(2):
        with pytest.raises(RuntimeError), admission.turn() as place:
            async with place.slot():
                raise RuntimeError
    assert counts(admission) == (0, 0)
