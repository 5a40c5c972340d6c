"""Locks over several real processes, some of which are killed."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from sessionbridge.sessions.store.sqlite.locks import FileLocks

PROCESSES, TASKS, TURNS = 4, 5, 10

QUEUE_UP = """
import asyncio, sys
from pathlib import Path
from sessionbridge.sessions.store.sqlite.locks import FileLocks

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

folder, log = map(Path, sys.argv[1:])
locks = FileLocks(folder)
asyncio.run(main())
"""
"""A turn for each label it reads."""

TAKE_TURNS = """
import asyncio, os, sys
from pathlib import Path
from sessionbridge.sessions.store.sqlite.locks import FileLocks

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

folder, counter = map(Path, sys.argv[1:3])
tasks, turns = map(int, sys.argv[3:])
inside = counter.with_name("inside")
locks = FileLocks(folder)
asyncio.run(main())
"""
"""Fails where it meets another inside."""


@asynccontextmanager
async def started(script: str, *arguments: object) -> AsyncIterator[Process]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "locks"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def logged(log: Path) -> list[str]:
    return log.read_text().split()


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_two_are_never_inside_together(folder: Path, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    async with AsyncExitStack() as stack:
        # All are in line before the first is let in.
        async with FileLocks(folder).hold("session", lambda: None):
            arguments = (TAKE_TURNS, folder, counter, TASKS, TURNS)
            processes = [
                await stack.enter_async_context(started(*arguments)) for _ in range(PROCESSES)
            ]
            for process in processes:
                assert await said(process) == "waits"
        await asyncio.gather(*(process.communicate() for process in processes))
        assert [process.returncode for process in processes] == [0] * PROCESSES
    assert counter.read_text() == str(PROCESSES * TASKS * TURNS)
    assert left(folder) == []


async def test_turns_of_all_processes_hold_in_order(folder: Path, log: Path) -> None:
    async with started(QUEUE_UP, folder, log) as one, started(QUEUE_UP, folder, log) as other:
        arrivals = [one, other, one, one, other, other, one, other]
        async with FileLocks(folder).hold("session", lambda: None):
            for number, process in enumerate(arrivals):
                await arrive(process, str(number))
        for process in (one, other):
            await process.communicate()
            assert process.returncode == 0
    assert logged(log) == [str(number) for number in range(len(arrivals))]
    assert left(folder) == []


async def test_a_holder_that_is_killed_holds_no_more(folder: Path, log: Path) -> None:
    async with started(QUEUE_UP, folder, log) as holder, started(QUEUE_UP, folder, log) as next_:
        await arrive(holder, "stays", "holds")
        await arrive(next_, "waits")
        await kill(holder)
        assert await said(next_) == "waits holds"
        await next_.communicate()
    assert left(folder) == []


async def test_a_waiter_that_is_killed_stops_nobody(folder: Path, log: Path) -> None:
    async with started(QUEUE_UP, folder, log) as gone, started(QUEUE_UP, folder, log) as patient:
        async with FileLocks(folder).hold("session", lambda: None):
            await arrive(gone, "first")
            await arrive(patient, "second")
            await arrive(gone, "third")
            await arrive(patient, "fourth")
            await kill(gone)
        await patient.communicate()
        assert patient.returncode == 0
    assert logged(log) == ["second", "fourth"]
    assert left(folder) == []


async def test_what_the_killed_leave_is_removed_by_the_next_proxy(folder: Path, log: Path) -> None:
    async with started(QUEUE_UP, folder, log) as holder:
        await arrive(holder, "stays", "holds")
        await arrive(holder, "behind")
        async with FileLocks(folder).hold("another", lambda: None):
            assert len(left(folder)) == 3  # while they are alive, they are left alone
        await kill(holder)
    assert len(left(folder)) == 2
    async with FileLocks(folder).hold("another", lambda: None):
        assert len(left(folder)) == 1
