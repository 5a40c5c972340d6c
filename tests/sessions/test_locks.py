"""One at a time per name, in order of arrival, and nothing left behind: within one process, on each
kind of locks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.postgres.locks import _LOCK_SQL
from sessionbridge.sessions.store.postgres.server import Server
from tests.support.lock_places import (
    Database,
    Folder,
    LockPlace,
    Turn,
    one_by_one,
    queue,
    two_servers,
)
from tests.support.postgres import Postgres
from tests.support.proxy import wait_for


@dataclass(frozen=True, slots=True)
class Shared:
    url: str
    servers: tuple[Server, Server]


@pytest.fixture(scope="module")
def shared(postgres: Postgres) -> Iterator[Shared]:
    with postgres.database() as url, two_servers(url) as servers:
        yield Shared(url, servers)


@pytest.fixture(params=["files", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> LockPlace:
    if request.param == "files":
        return Folder(tmp_path / "home" / "locks")
    shared: Shared = request.getfixturevalue("shared")
    return Database(request.getfixturevalue("postgres"), shared.url, *shared.servers)


@pytest.fixture
def locks(place: LockPlace) -> Locks:
    return place.nodes[0]


async def test_turns_that_arrive_together_hold_in_order(place: LockPlace, locks: Locks) -> None:
    order = list[int]()

    async def turn(number: int) -> None:
        async with locks.hold("a", lambda: None):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(turn(number) for number in range(30)))
    assert order == [number // 2 for number in range(60)]
    assert place.in_line == 0


async def test_turns_of_two_nodes_hold_in_order(place: LockPlace) -> None:
    """They know of each other by what they share only."""
    one, other = place.nodes
    await one_by_one(await queue(one, other, one, one, other, other, one))
    assert place.in_line == 0


async def test_a_server_that_is_slow_with_one_keeps_the_order(
    shared: Shared, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells of a wait, and the place in line comes later, as where its process was not given
    the processor in between."""
    place = Database(postgres, shared.url, *shared.servers)
    one, other = place.nodes
    turns = await queue(one)
    for node, seconds in ((one, 0.3), (other, 0), (one, 0.3), (one, 0)):
        slow = _LOCK_SQL.replace("PERFORM", f"PERFORM pg_sleep({seconds}); PERFORM")
        monkeypatch.setattr("sessionbridge.sessions.store.postgres.locks._LOCK_SQL", slow)
        turns.append(Turn(node))
        await turns[-1].waits.wait()
    await one_by_one(turns)
    assert place.in_line == 0


async def test_other_names_do_not_wait(locks: Locks) -> None:
    turns = [Turn(locks, name) for name in ("a", "b", "a.0", "", "\ud800", "../a\0" * 99)]
    for turn in turns:
        await turn.runs.wait()
        assert not turn.waits.is_set()
    for turn in turns:
        await turn.end()


async def test_one_that_is_refused_a_wait_is_not_in_line(place: LockPlace, locks: Locks) -> None:
    class Full(Exception):
        pass

    def refuse() -> None:
        raise Full

    (holder,) = await queue(locks)
    with pytest.raises(Full):
        async with locks.hold("a", refuse):
            pass
    assert place.in_line == 1
    await holder.end()
    async with locks.hold("a", refuse):
        pass


@pytest.mark.parametrize("apart", [False, True], ids=["one node", "two nodes"])
async def test_a_waiter_that_gives_up_stops_nobody(place: LockPlace, apart: bool) -> None:
    one, other = place.nodes
    holder, gone, patient = await queue(one, other if apart else one, one)
    await gone.leave()
    assert place.in_line == 2 and not patient.runs.is_set()
    await one_by_one([holder, patient])
    assert place.in_line == 0


@pytest.mark.parametrize("steps", [*range(8), *(2**power for power in range(3, 13))])
async def test_a_waiter_that_is_woken_and_gives_up_stops_nobody(
    place: LockPlace, locks: Locks, steps: int
) -> None:
    holder, gone, patient = await queue(locks, locks, locks)
    end = asyncio.create_task(holder.end())
    for _ in range(steps):
        await asyncio.sleep(0)
    await gone.leave()
    await end
    await one_by_one([patient])
    assert place.in_line == 0


@pytest.mark.parametrize("steps", [2**power for power in range(13)])
async def test_one_that_gives_up_on_arrival_leaves_nothing(
    place: LockPlace, locks: Locks, steps: int
) -> None:
    (holder,) = await queue(locks)
    gone = Turn(locks)
    for _ in range(steps):
        await asyncio.sleep(0)
    gone.task.cancel()
    await asyncio.sleep(0)
    gone.task.cancel()  # once more, while it leaves
    await asyncio.wait([gone.task])
    await one_by_one([holder])
    await one_by_one(await queue(locks))
    await asyncio.to_thread(wait_for, lambda: not place.in_line, "it to have left")


async def test_an_error_of_the_holder_is_its_own(place: LockPlace, locks: Locks) -> None:
    with pytest.raises(FileNotFoundError):
        async with locks.hold("a", lambda: None):
            raise FileNotFoundError
    assert place.in_line == 0
