"""Locks of each kind as nodes have them, and turns that hold them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.postgres.locks import PostgresLocks
from sessionbridge.sessions.store.postgres.server import Server
from sessionbridge.sessions.store.sqlite.locks import FileLocks
from tests.support.postgres import Postgres
from tests.support.turn_tasks import TurnTask


class Turn(TurnTask):
    """Runs while it holds the lock."""

    def __init__(self, locks: Locks, name: str = "a") -> None:
        self.waits = asyncio.Event()
        super().__init__(locks.hold(name, self.waits.set))


async def queue(*locks: Locks) -> list[Turn]:
    """The first holds, the others wait, one turn for each in this order."""
    turns = [Turn(locks[0])]
    await turns[0].runs.wait()
    for each in locks[1:]:
        turns.append(Turn(each))
        await turns[-1].waits.wait()
    return turns


async def one_by_one(turns: list[Turn]) -> None:
    for number, turn in enumerate(turns):
        await _one_runs(turns[number:])
        runs = [each.runs.is_set() for each in turns[number:]]
        assert runs == [True, *[False] * (len(runs) - 1)], "another one's turn"
        await turn.end()


async def _one_runs(turns: list[Turn]) -> None:
    """Or fails."""
    waits = [asyncio.create_task(turn.runs.wait()) for turn in turns]
    tasks = [turn.task for turn in turns]
    await asyncio.wait([*waits, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


class LockPlace(Protocol):
    """`nodes` have nothing in common but the locks. By its
    `environment` other processes find them."""

    environment: Mapping[str, str]
    nodes: tuple[Locks, Locks]

    @property
    def in_line(self) -> int:
        """How many hold a lock or wait for one, as the file system or PostgreSQL sees it."""


class Folder:
    def __init__(self, path: Path) -> None:
        self.environment: Mapping[str, str] = {"HOME_OF_LOCKS": str(path.parent), "STORE": ""}
        self.path = path
        self.nodes: tuple[Locks, Locks] = FileLocks(path), FileLocks(path)

    @property
    def in_line(self) -> int:
        return len(list(self.path.iterdir()))


class Database:
    def __init__(self, postgres: Postgres, url: str, *servers: Server) -> None:
        self.environment: Mapping[str, str] = {"HOME_OF_LOCKS": "/unused", "STORE": url}
        self._postgres = postgres
        one, other = servers
        self.nodes: tuple[Locks, Locks] = PostgresLocks(one), PostgresLocks(other)

    @property
    def in_line(self) -> int:
        asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        ((count,),) = self._postgres.execute(asked)
        return int(count)


@contextmanager
def two_servers(url: str) -> Iterator[tuple[Server, Server]]:
    with ExitStack() as ends:
        one, other = Server(url), Server(url)
        for server in (one, other):
            server.open()
            ends.callback(server.close)
        yield one, other
