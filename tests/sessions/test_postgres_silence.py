"""A PostgreSQL whose processes are frozen: its kernel goes on to accept and to acknowledge."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import wait
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.postgres import channel, connections, server
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.turns import runtime
from sessionbridge.turns.runtime import Runtime
from tests.support.bridge_fixtures import SETTINGS
from tests.support.claude_cli import isolated
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import Postgres
from tests.support.postgres_stores import NodeStore, asked, busy, node_store
from tests.support.proxy import wait_for
from tests.support.turn_records import KEY, turn

TURNS = "SELECT history_hash FROM sessionbridge.turns ORDER BY id"


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BRIEF", 0.3)
    monkeypatch.setattr(connections.Connection, "patience", 0.3)
    monkeypatch.setattr(connections.ListeningConnection, "patience", 0.3)


@pytest.fixture
def node(database: str) -> Iterator[NodeStore]:
    with node_store(database) as node:
        node.store.wait_at_most(0.2)
        yield node


@contextmanager
def frozen(postgres: Postgres, database: str) -> Iterator[None]:
    """Those that serve it by now; others may be begun."""
    backends = postgres.backends(database)
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def all_frozen(postgres: Postgres) -> Iterator[None]:
    """Itself first, so that it begins no more."""
    assert postgres.process is not None
    stopped = [postgres.process.pid]
    try:
        os.kill(stopped[0], signal.SIGSTOP)
        children = Path(f"/proc/{stopped[0]}/task/{stopped[0]}/children").read_text()
        for pid in map(int, children.split()):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):  # one that has ended meanwhile is there until it goes on
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def soon() -> AsyncIterator[None]:
    async with asyncio.timeout(20):
        yield


def test_a_question_is_given_up_and_the_next_one_answered(
    postgres: Postgres, database: str, node: NodeStore
) -> None:
    node.store.commit(turn())
    with frozen(postgres, database):
        with pytest.raises(StoreUnavailable, match="did not answer in time") as raised:
            node.store.count()
        assert raised.value.retry_after == 30
        node.store.wait_at_most(10)
        assert node.store.count() == 1
        node.engine.check()


def test_one_that_lets_nobody_in_is_told(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server._ALIVE, "connect_timeout", 2)
    assert postgres.process is not None
    os.kill(postgres.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="cannot be reached .*timeout"):
            server.Server(database).open(0.2)
    finally:
        os.kill(postgres.process.pid, signal.SIGCONT)


def test_who_has_waited_in_line_is_told_so_at_once(
    postgres: Postgres, node: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server._ALIVE, "connect_timeout", 2)
    tries: list[Exception | None] = []

    def tried(its: server.Server) -> Exception | None:
        tries.append(found := refused(its))
        return found

    refused = server.Server._refused
    monkeypatch.setattr(server.Server, "_refused", tried)
    node.store.wait_at_most(10)
    assert node.store.count() == 0
    node.store.wait_at_most(0.2)
    with all_frozen(postgres):
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            node.store.count()
        monkeypatch.setattr(connections, "BRIEF", 60)
        node.store.wait_at_most(0)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="cannot be reached .*timeout"):
                node.store.count()
    assert len(tries) == 1
    node.store.wait_at_most(10)
    assert node.store.count() == 0


def test_one_behind_a_proxy_that_lets_everybody_in_is_not_told_to_be_in_use(
    postgres: Postgres, database: str
) -> None:
    with running_pgbouncer(postgres, "transaction") as port:
        through = database.replace(f":{postgres.port}/", f":{port}/")
        with node_store(through) as node:
            assert node.store.count() == 0
            node.store.wait_at_most(0.2)
            with all_frozen(postgres):
                for _ in range(3):
                    with pytest.raises(StoreUnavailable, match="did not answer in time"):
                        node.store.count()


async def test_a_turn_is_not_kept_and_its_lock_is_given_back(
    postgres: Postgres, database: str, node: NodeStore
) -> None:
    async with soon(), node.locks.hold("session-1", lambda: None):
        with (
            frozen(postgres, database),
            pytest.raises(StoreUnavailable, match="did not answer .* This turn was not kept"),
        ):
            await asyncio.to_thread(node.store.commit, turn(), "session-1")
    async with soon(), node.locks.hold("session-1", lambda: None):
        node.store.wait_at_most(10)
        node.store.commit(turn(history_hash="next"), "session-1")
    assert asked(database, TURNS) == [("next",)]


async def test_a_turn_that_ends_in_another_way_ends(
    postgres: Postgres, database: str, node: NodeStore
) -> None:
    async with soon():
        hold = node.locks.hold("session-1", lambda: None)
        await hold.__aenter__()
        with frozen(postgres, database):
            await hold.__aexit__(None, None, None)


async def test_who_waits_for_a_lock_is_told(postgres: Postgres, database: str) -> None:
    with node_store(database, silence=1.0) as node, node_store(database, silence=60) as other:
        async with soon(), other.locks.hold("session-1", lambda: None):
            waits = asyncio.Event()

            async def wait() -> None:
                async with node.locks.hold("session-1", waits.set):
                    raise AssertionError

            waiting = asyncio.create_task(wait())
            await waits.wait()
            with (
                frozen(postgres, database),
                pytest.raises(StoreUnavailable, match="did not answer in time"),
            ):
                await waiting


async def test_many_who_leave_do_not_wait_for_each_other(postgres: Postgres, database: str) -> None:
    """More than there are threads, each of which would wait for 5 s."""
    names = [f"session-{number}" for number in range(40)]
    with node_store(database) as node, node_store(database) as other:
        async with other.locks.hold_all(names):
            waits = [asyncio.Event() for _ in names]

            async def wait(name: str, waiting: asyncio.Event) -> None:
                async with node.locks.hold(name, waiting.set):
                    raise AssertionError

            leaving = [asyncio.create_task(wait(*both)) for both in zip(names, waits, strict=True)]
            for waiting in waits:
                await waiting.wait()
            with all_frozen(postgres):
                for task in leaving:
                    task.cancel()
                async with soon():
                    await asyncio.wait(leaving)
            assert all(task.cancelled() for task in leaving)
        async with soon(), node.locks.hold_all(names):
            pass


async def test_who_hears_other_nodes_finds_out(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "_QUIET", 0.2)
    place = Place(database)
    try:
        async with soon(), aclosing(place.channel().heard()) as texts:
            assert await anext(texts) is None
            with frozen(postgres, database):
                assert await anext(texts) is None
            await place.channel().say(["said"])
            assert await anext(texts) == "said"
    finally:
        place.close()


# -- a node that ends ------------------------------------------------------------------------------


@pytest.fixture
def begun(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    isolated(monkeypatch, tmp_path)
    made = Runtime()
    made.walk(SETTINGS.model_copy(update={"home": tmp_path, "store": database}))
    yield made
    made.close()


async def test_a_node_ends_without_an_answer(
    postgres: Postgres, begun: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_ENDING_SECONDS", 0.2)
    monkeypatch.setattr(connections, "BRIEF", 60)  # that is not what ends it
    assert begun.store is not None
    assert await begun.store.ask(SessionStore.count) == 0
    await begun.store.commit(turn())
    with all_frozen(postgres):
        asking = [
            asyncio.ensure_future(asked)
            for asked in (
                begun.store.ask(SessionStore.count),
                begun.store.ask(SessionStore.count),
                begun.store.note(KEY, "session-1"),
            )
        ]
        await asyncio.sleep(0)
        begun.close()
        for answer in asking:
            with pytest.raises(StoreUnavailable, match="has been closed"):
                await answer


async def test_a_commit_under_way_is_waited_for(
    database: str, begun: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    store = begun.store
    assert store is not None
    first = await store.commit(turn())
    with node_store(database) as other, ExitStack() as busy_there:
        busy_there.enter_context(busy(other, KEY))

        def waiting(answers: Any, timeout: float) -> None:
            busy_there.close()
            wait(answers, timeout)

        monkeypatch.setattr(runtime, "wait", waiting)
        committing = asyncio.ensure_future(store.commit(turn(history_hash="last")))
        await asyncio.to_thread(wait_for, lambda: asked(database, waits), "it to wait")
        begun.close()
        assert await committing == first + 1
