"""One at a time per name, in order of arrival, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc

import pytest

from sessionbridge.sessions.locks import Locks


async def test_one_name_is_one_lock_and_in_order() -> None:
    locks, order = Locks(), list[int]()

    async def turn(number: int) -> None:
        async with locks.of("a"):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(turn(number) for number in range(4)))
    assert order == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_other_names_do_not_wait() -> None:
    locks = Locks()
    async with locks.of(("a", "b:c")), locks.of(("a:b", "c")):
        assert locks.of(("a", "b:c")).locked()


async def test_equal_names_meet() -> None:
    locks = Locks()
    async with locks.of(("a", 1)):
        gc.collect()
        assert locks.of(tuple(["a", 1])).locked()


async def test_a_waiter_that_gives_up_stops_nobody() -> None:
    locks = Locks()
    holding = locks.of("a")
    await holding.acquire()

    async def wait() -> str:
        async with locks.of("a"):
            return "came in"

    gone, patient = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert not patient.done()
    holding.release()
    assert await patient == "came in"


async def test_locks_nobody_uses_are_forgotten() -> None:
    locks = Locks()
    for name in range(100):
        async with locks.of(name):
            pass
    gc.collect()
    assert len(locks._locks) == 0
