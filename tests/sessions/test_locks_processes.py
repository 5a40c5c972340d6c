"""Locks of each kind over several real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from sessionbridge.sessions.store.locks import Locks
from tests.support.lock_places import Database, Folder, LockPlace, two_servers
from tests.support.postgres import Postgres

PROCESSES, TASKS, TURNS = 4, 5, 10

QUEUE_UP = """
import asyncio, os, sys
from pathlib import Path
from sessionbridge.sessions.store.places import place_of

async def turn(label):
    async with locks.hold("session", lambda: print(label, "waits", flush=True)):
        print(label, "holds", flush=True)
        with log.open("a") as file:
            print(label, file=file)
        if label.startswith("stays"):
            await asyncio.Event().wait()

async def main():
    async with asyncio.TaskGroup() as turns:
        while label := await asyncio.to_thread(sys.stdin.readline):
            turns.create_task(turn(label.strip()))

log = Path(sys.argv[1])
kept = place_of(Path(os.environ["HOME_OF_LOCKS"]), os.environ["STORE"])
locks = kept.locks()
asyncio.run(main())
kept.close()
"""
"""A turn for each label it reads."""

TAKE_TURNS = """
import asyncio, os, sys
from pathlib import Path
from sessionbridge.sessions.store.places import place_of

async def take_turns():
    for _ in range(turns):
        async with locks.hold("session", lambda: print("waits", flush=True)):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            number = int(counter.read_text())
            await asyncio.sleep(0)
            counter.write_text(str(number + 1))
            inside.unlink()

async def main():
    await asyncio.gather(*(take_turns() for _ in range(tasks)))

counter = Path(sys.argv[1])
tasks, turns = map(int, sys.argv[2:])
inside = counter.with_name("inside")
kept = place_of(Path(os.environ["HOME_OF_LOCKS"]), os.environ["STORE"])
locks = kept.locks()
asyncio.run(main())
kept.close()
"""
"""Fails where it meets another inside."""


@asynccontextmanager
async def started(script: str, place: LockPlace, *arguments: object) -> AsyncIterator[Process]:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), **place.environment}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *map(str, arguments)),
        stdin=PIPE,
        stdout=PIPE,
        env=environment,
    )
    try:
        yield process
    finally:
        await kill(process)


async def kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


async def arrive(process: Process, label: str, state: str = "waits") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{label}\n".encode())
    assert await said(process) == f"{label} {state}"


async def said(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip()


@pytest.fixture(params=["files", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LockPlace]:
    if request.param == "files":
        yield Folder(tmp_path / "home" / "locks")
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url, two_servers(url) as servers:
        yield Database(postgres, url, *servers)


@pytest.fixture
def locks(place: LockPlace) -> Locks:
    return place.nodes[0]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def logged(log: Path) -> list[str]:
    return log.read_text().split()


async def test_two_are_never_inside_together(
    place: LockPlace, locks: Locks, tmp_path: Path
) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    async with AsyncExitStack() as stack:
        # All are in line before the first is let in.
        async with locks.hold("session", lambda: None):
            arguments = (TAKE_TURNS, place, counter, TASKS, TURNS)
            processes = [
                await stack.enter_async_context(started(*arguments)) for _ in range(PROCESSES)
            ]
            for process in processes:
                assert await said(process) == "waits"
        await asyncio.gather(*(process.communicate() for process in processes))
        assert [process.returncode for process in processes] == [0] * PROCESSES
    assert counter.read_text() == str(PROCESSES * TASKS * TURNS)
    assert place.in_line == 0


async def test_turns_of_all_processes_hold_in_order(
    place: LockPlace, locks: Locks, log: Path
) -> None:
    async with started(QUEUE_UP, place, log) as one, started(QUEUE_UP, place, log) as other:
        arrivals = [one, other, one, one, other, other, one, other]
        async with locks.hold("session", lambda: None):
            for number, process in enumerate(arrivals):
                await arrive(process, str(number))
        for process in (one, other):
            await process.communicate()
            assert process.returncode == 0
    assert logged(log) == [str(number) for number in range(len(arrivals))]
    assert place.in_line == 0


async def test_a_holder_that_is_killed_holds_no_more(
    place: LockPlace, locks: Locks, log: Path
) -> None:
    async with started(QUEUE_UP, place, log) as holder, started(QUEUE_UP, place, log) as next_:
        await arrive(holder, "stays", "holds")
        await arrive(next_, "waits")
        await kill(holder)
        assert await said(next_) == "waits holds"
        await next_.communicate()
    assert place.in_line == 0


async def test_a_waiter_that_is_killed_stops_nobody(
    place: LockPlace, locks: Locks, log: Path
) -> None:
    async with started(QUEUE_UP, place, log) as gone, started(QUEUE_UP, place, log) as patient:
        async with locks.hold("session", lambda: None):
            await arrive(gone, "first")
            await arrive(patient, "second")
            await arrive(gone, "third")
            await arrive(patient, "fourth")
            await kill(gone)
        await patient.communicate()
        assert patient.returncode == 0
    assert logged(log) == ["second", "fourth"]
    assert place.in_line == 0


async def test_what_the_killed_leave_is_removed_by_the_next_proxy(
    tmp_path: Path, log: Path
) -> None:
    place = Folder(tmp_path / "home" / "locks")
    async with started(QUEUE_UP, place, log) as holder:
        await arrive(holder, "stays", "holds")
        await arrive(holder, "behind")
        async with place.nodes[0].hold("another", lambda: None):
            assert place.in_line == 3  # while they are alive, they are left alone
        await kill(holder)
    assert place.in_line == 2
    async with place.nodes[1].hold("another", lambda: None):
        assert place.in_line == 1
