"""Silence becomes pings, too long a silence an error, and the producer always ends first.

Limits here are either far away or already over, so that no result depends on the machine's speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from sessionbridge.errors import ApiFailed, ClaudeFailed, TimedOut
from sessionbridge.model import (
    Delta,
    Dispatched,
    Finished,
    Message,
    Plan,
    Started,
    TextDelta,
    Usage,
)
from sessionbridge.turns.timeouts import Limits, timed

STARTED = Started("msg_1", "claude-x", Usage())
TEXT = TextDelta(0, "hi")
FINISHED = Finished("session", ("e1", "e2"), "end_turn", Usage(), None)

FAR = Limits(first=60, whole=60)
SHORT = 0.01
SOON = 0.5
"""Over in the end, but not before a busy machine has come to what is there at once."""


class Producer:
    """Yields deltas, waits for `gate` at every None, and tells how it ended."""

    def __init__(self, *steps: Dispatched | Delta | None | Exception) -> None:
        self._steps = steps
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()
        self.end: str | None = None

    async def run(self) -> AsyncGenerator[Dispatched | Delta]:
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                if step is None:
                    self.reached.set()
                    await self.gate.wait()
                else:
                    yield step
            self.end = "properly"
        except asyncio.CancelledError:
            self.end = "stopped"
            raise
        finally:
            await asyncio.sleep(0)


async def test_deltas_pass_in_order() -> None:
    producer = Producer(STARTED, TEXT, FINISHED)
    assert [delta async for delta in timed(producer.run(), FAR)] == [STARTED, TEXT, FINISHED]
    assert producer.end == "properly"


async def test_silence_becomes_pings() -> None:
    producer = Producer(STARTED, None, FINISHED)
    seen: list[Dispatched | Delta | None] = []
    async for delta in timed(producer.run(), FAR, ping_interval=SHORT):
        seen.append(delta)
        if seen.count(None) == 2:
            producer.gate.set()
    assert [delta for delta in seen if delta] == [STARTED, FINISHED]
    assert seen[:3] == [STARTED, None, None]


async def test_a_process_that_is_not_ready_in_time_is_told_as_that() -> None:
    producer = Producer(None, FINISHED)
    with pytest.raises(TimedOut, match=r"CLI was not ready within 0\.01 s.*doctor") as caught:
        async for _ in timed(producer.run(), Limits(first=SHORT, whole=60)):
            pass
    assert caught.value.status == 504
    assert producer.end == "stopped"


async def test_a_process_that_has_taken_the_plan_has_not_said_anything() -> None:
    plan = Plan("fresh", "first_turn", None, (), Message("user", ({"type": "text", "text": "x"},)))
    producer = Producer(Dispatched(plan, "session", "claude", "new"), None, FINISHED)
    with pytest.raises(TimedOut, match="no first token"):
        async for _ in timed(producer.run(), Limits(first=SOON, whole=60)):
            pass


async def test_no_end() -> None:
    producer = Producer(STARTED, None, FINISHED)
    with pytest.raises(TimedOut, match=r"not complete after 0\.02 s"):
        async for _ in timed(producer.run(), Limits(first=60, whole=2 * SHORT)):
            pass
    assert producer.end == "stopped"


async def test_the_first_token_limit_is_over_once_something_was_said() -> None:
    producer = Producer(STARTED, None, FINISHED)
    seen: list[Dispatched | Delta | None] = []
    async for delta in timed(producer.run(), Limits(first=SOON, whole=60), ping_interval=SOON / 2):
        seen.append(delta)
        if seen.count(None) == 3:
            producer.gate.set()
    assert seen[-1] == FINISHED


async def test_a_slow_reader_loses_nothing() -> None:
    producer = Producer(STARTED, TEXT, FINISHED)
    seen: list[Dispatched | Delta | None] = []
    async for delta in timed(producer.run(), Limits(first=SOON, whole=SOON)):
        seen.append(delta)
        await asyncio.sleep(2 * SOON)
    assert seen == [STARTED, TEXT, FINISHED]


async def test_an_error_comes_after_what_was_said() -> None:
    producer = Producer(STARTED, TEXT, ApiFailed(529, "overloaded"))
    seen: list[Dispatched | Delta | None] = []
    with pytest.raises(ApiFailed):
        async for delta in timed(producer.run(), FAR):
            seen.append(delta)
    assert seen == [STARTED, TEXT]


@pytest.mark.parametrize("steps", [(), (STARTED, TEXT)])
async def test_half_an_answer_does_not_pass_for_a_whole_one(steps: tuple[Delta, ...]) -> None:
    with pytest.raises(ClaudeFailed, match="ended before its answer"):
        async for _ in timed(Producer(*steps).run(), FAR):
            pass


async def test_a_producer_cancelled_from_within_is_not_waited_for() -> None:
    async def gives_up() -> AsyncGenerator[Delta]:
        yield STARTED
        raise asyncio.CancelledError

    with pytest.raises(ClaudeFailed):
        async for _ in timed(gives_up(), FAR):
            pass


async def test_leaving_stops_the_producer() -> None:
    producer = Producer(STARTED, None, FINISHED)
    async with aclosing(timed(producer.run(), FAR)) as deltas:
        async for _ in deltas:
            await producer.reached.wait()
            break
    assert producer.end == "stopped"


async def test_being_cancelled_stops_the_producer() -> None:
    producer = Producer(STARTED, None, FINISHED)

    async def read() -> None:
        async for _ in timed(producer.run(), FAR):
            pass

    task = asyncio.create_task(read())
    await producer.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert producer.end == "stopped"


async def test_never_read_never_begun() -> None:
    producer = Producer(STARTED, FINISHED)
    await timed(producer.run(), FAR).aclose()
    assert producer.end is None


async def test_after_finished_the_producer_ends_properly() -> None:
    producer = Producer(STARTED, FINISHED, None)
    async with aclosing(timed(producer.run(), FAR)) as deltas:
        async for delta in deltas:
            if delta == FINISHED:
                asyncio.get_running_loop().call_soon(producer.gate.set)
                break
    assert producer.end == "properly"


async def test_it_ends_properly_though_finished_was_never_read() -> None:
    producer = Producer(STARTED, FINISHED, None)
    async with aclosing(timed(producer.run(), FAR)) as deltas:
        async for delta in deltas:
            assert delta == STARTED
            await producer.reached.wait()
            asyncio.get_running_loop().call_soon(producer.gate.set)
            break
    assert producer.end == "properly"


async def test_after_finished_it_ends_properly_even_while_being_cancelled() -> None:
    producer = Producer(STARTED, FINISHED, None)

    async def read() -> None:
        async with aclosing(timed(producer.run(), FAR)) as deltas:
            async for delta in deltas:
                if delta == FINISHED:
                    return

    task = asyncio.create_task(read())
    await producer.reached.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done() and producer.end is None
    producer.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert producer.end == "properly"
