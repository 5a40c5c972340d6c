"""A database on PostgreSQL that fails while it is used. Every fault here is a real one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.postgres import connections
from sessionbridge.sessions.store.postgres.locks import PostgresLocks
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support.lock_places import Turn, one_by_one, queue
from tests.support.postgres import Postgres
from tests.support.postgres_stores import Moment, NodeStore, asked, busy, node_store, relay
from tests.support.proxy import wait_for
from tests.support.turn_records import KEY, turn, turn_named

TURNS = "SELECT history_hash FROM sessionbridge.turns ORDER BY id"


EMPTIED = """
TRUNCATE sessionbridge.session_map, sessionbridge.turns, sessionbridge.points,
    sessionbridge.files, sessionbridge.pieces, sessionbridge.common RESTART IDENTITY
"""


@pytest.fixture(scope="module")
def opened(postgres: Postgres) -> Iterator[tuple[str, NodeStore]]:
    with postgres.database() as url, node_store(url) as node:
        yield url, node


@pytest.fixture
def database(postgres: Postgres, opened: tuple[str, NodeStore]) -> str:
    """That of all these tests, with nothing in it."""
    postgres.start()
    asked(opened[0], EMPTIED)
    return opened[0]


@pytest.fixture
def node(database: str, opened: tuple[str, NodeStore]) -> NodeStore:
    opened[1].store.wait_at_most(30)
    return opened[1]


def refused(node: NodeStore) -> str:
    with pytest.raises(StoreUnavailable) as raised:
        node.store.set(KEY, "session-2")
    return raised.value.message


def test_a_restart_between_two_questions_is_not_noticed(postgres: Postgres, database: str) -> None:
    with node_store(database) as node:
        taken = [node.server.take_for_lock() for _ in range(6)]  # all of these are to be replaced
        for connection in taken:
            node.server.give_back(connection)
        node.store.commit(turn())
        postgres.restart()
        assert node.store.get(KEY) == "session-1"
        node.server.give_back(node.server.take_for_lock())
        postgres.stop(immediate=True)
        postgres.start()
        node.server.give_back(node.server.take_for_lock())
        assert node.store.count() == 1


def test_what_is_being_written_meanwhile_is_written_once_more(
    postgres: Postgres, node: NodeStore
) -> None:
    tries = []

    def work(db: Database) -> list[Any]:
        tries.append(db)
        db.execute("INSERT INTO common (name, value) VALUES ('a', '')", {})
        if len(tries) == 1:
            postgres.restart()
        return list(db.query("INSERT INTO common (name, value) VALUES ('b', '') RETURNING 1", {}))

    assert len(node.engine.write(work)) == 1
    assert len(tries) == 2
    assert len(node.engine.read(lambda db: list(db.query("SELECT * FROM common", {})))) == 2


def test_one_that_is_away_is_told_and_found_again(postgres: Postgres, node: NodeStore) -> None:
    node.store.commit(turn())
    postgres.stop()
    node.store.wait_at_most(0.2)
    assert "cannot be reached" in refused(node)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        node.engine.check()
    postgres.start()
    node.store.wait_at_most(30)
    assert node.store.get(KEY) == "session-1"
    node.engine.check()


@pytest.mark.parametrize("locked", [False, True], ids=["no lock", "lock"])
@pytest.mark.parametrize("moment", ["sent", "done", "silent"])
async def test_a_commit_that_is_cut_off_is_there_or_not(
    database: str, moment: Moment, locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And which of the two is told truly."""
    monkeypatch.setattr(connections, "BRIEF", 1.0)
    with relay(database) as between, node_store(between.url) as node:
        node.store.wait_at_most(1)
        async with node.locks.hold("session-1", lambda: None):
            between.cut = moment
            under = "session-1" if locked else None
            if moment == "done":
                assert node.store.commit(turn(), under) == 1
            else:
                why = "did not answer" if moment == "silent" else "went away"
                with pytest.raises(StoreUnavailable, match=f"{why} .* This turn was not kept"):
                    node.store.commit(turn(), under)
        assert asked(database, TURNS) == ([("history",)] if moment == "done" else [])
        node.store.commit(turn(history_hash="next"))


def test_one_that_is_busy_is_told(database: str, node: NodeStore) -> None:
    node.store.wait_at_most(0.2)
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE sessionbridge.session_map")
        assert "did not answer in time" in refused(node)
    node.store.set(KEY, "session-2")
    node.store.wait_at_most(0.0)  # no time is left, which is not all the time there is
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE sessionbridge.session_map")
        assert "did not answer in time" in refused(node)


def test_one_that_is_read_only_is_read(postgres: Postgres, database: str, node: NodeStore) -> None:
    node.store.commit(turn())
    name = database.rpartition("/")[2]
    postgres.execute("ALTER DATABASE {} SET default_transaction_read_only = on", name)
    with node_store(database) as node:
        assert "is read-only" in refused(node)
        with pytest.raises(StoreUnavailable, match="is read-only"):
            node.engine.check()
        assert node.store.count() == 1
    postgres.execute("ALTER DATABASE {} RESET default_transaction_read_only", name)


FULL = """
CREATE FUNCTION sessionbridge.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER is_full BEFORE INSERT ON sessionbridge.turns
    EXECUTE FUNCTION sessionbridge.refuse();
"""


async def test_one_that_is_full_keeps_nothing_of_a_turn(database: str, node: NodeStore) -> None:
    asked(database, FULL)
    async with node.locks.hold("session-1", lambda: None):
        with pytest.raises(StoreUnavailable, match="No room .* free some on its server"):
            node.store.commit(turn(), "session-1")
    assert node.store.get(KEY) is None
    asked(database, "DROP FUNCTION sessionbridge.refuse CASCADE")
    async with node.locks.hold("session-1", lambda: None):
        node.store.commit(turn(), "session-1")
    assert node.store.get(KEY) == "session-1"


def test_too_many_connections_are_told(postgres: Postgres) -> None:
    with postgres.database() as database, node_store(database) as node:
        wait_for(lambda: len(postgres.backends(database)) == 2, "each pool to have its first")
        name = database.rpartition("/")[2]
        postgres.execute("ALTER DATABASE {} CONNECTION LIMIT 2", name)
        held = node.server.take_for_lock()
        with pytest.raises(StoreUnavailable, match="too many connections .* max_connections"):
            node.server.take_for_lock(0.2)
        assert node.store.count() == 0  # questions have connections of their own
        node.server.give_back(held)
        node.server.give_back(node.server.take_for_lock())
        postgres.execute("ALTER DATABASE {} CONNECTION LIMIT -1", name)


async def test_a_turn_that_waits_for_another_of_its_key_holds_up_no_others(
    database: str, node: NodeStore
) -> None:
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    place = Place(database)
    store = StoreThread(place)
    locks = place.locks()
    try:
        async with locks.hold("session-1", lambda: None), asyncio.timeout(20):
            with busy(node, KEY):
                waiting = [
                    asyncio.create_task(store.commit(turn(), under))
                    for under in ("session-1", None)
                ]
                await asyncio.to_thread(
                    wait_for, lambda: len(asked(database, waits)) == 2, "both to wait"
                )
                await store.commit(turn_named("other"))
                await store.note(turn_named("one more").key, "session-2")
                assert not any(task.done() for task in waiting)
            await asyncio.gather(*waiting)
    finally:
        store.close()
        place.close()
    assert len(asked(database, TURNS)) == 3


def test_names_may_hold_anything(node: NodeStore) -> None:
    key = SessionKey("goclaw", "a\0b%s:name'\";--\N{PILE OF POO}", "claude")
    node.store.commit(turn(key=key, metadata={"cwd": "/srv/\0"}))
    assert node.store.get(key) == "session-1"
    row = node.store.lineage(key, ["ask", "history"]).row
    assert row is not None and row.metadata == {"cwd": "/srv/\0"}
    assert node.store.delete(key) is not None


def test_times_are_those_of_the_server(
    database: str, node: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose clock is an hour ahead forgets nothing too early."""
    node.store.set(KEY, "session-1")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    with node_store(database) as ahead:
        assert ahead.store.delete(KEY, unused_for=1800) is None
        assert ahead.store.stale(unused_for=1800) == []
        ahead.store.set(KEY, "session-1")
        ((apart,),) = asked(
            database,
            "SELECT abs(last_used_at - extract(epoch FROM now())) FROM sessionbridge.session_map",
        )
        assert apart < 600
        assert node.store.delete(KEY, unused_for=0) is not None


def test_a_question_may_be_asked_any_number_of_times(node: NodeStore) -> None:
    """Some are prepared after a while."""
    for number in range(30):
        node.store.commit(turn(history_hash=str(number)))
        assert node.store.lineage(KEY, ["ask", str(number)]).tip is not None


# -- locks that are lost ---------------------------------------------------------------------------


def terminate(database: str, node: NodeStore, lock: str) -> None:
    connection: psycopg.Connection[Any] = node.server.held[lock]
    asked(database, "SELECT pg_terminate_backend(%s, 5000)", connection.info.backend_pid)


async def test_who_has_lost_the_lock_commits_nothing(database: str, node: NodeStore) -> None:
    async with node.locks.hold("session-1", lambda: None):
        terminate(database, node, "session-1")
        with node_store(database) as other:
            async with other.locks.hold("session-1", pytest.fail):
                other.store.commit(turn(history_hash="theirs"), "session-1")
        with pytest.raises(
            StoreUnavailable, match="has let go of this conversation.* This turn was not kept"
        ):
            node.store.commit(turn(), "session-1")
    assert asked(database, TURNS) == [("theirs",)]
    async with node.locks.hold("session-1", pytest.fail):
        node.store.commit(turn(), "session-1")


async def test_nor_in_the_name_of_the_next_turn_of_its_node(database: str, node: NodeStore) -> None:
    async with node.locks.hold("session-1", lambda: None):
        terminate(database, node, "session-1")
        waits = list[bool]()
        next_ = node.locks.hold("session-1", lambda: waits.append(True))
        entering = asyncio.create_task(next_.__aenter__())
        await asyncio.to_thread(wait_for, lambda: waits, "the next turn to wait")
        with pytest.raises(StoreUnavailable, match="This turn was not kept"):
            node.store.commit(turn(), "session-1")
    await entering
    node.store.commit(turn(history_hash="next"), "session-1")
    await next_.__aexit__(None, None, None)
    assert asked(database, TURNS) == [("next",)]


async def test_who_says_nothing_has_lost_it(database: str) -> None:
    holders = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    with node_store(database, silence=0.3) as node:
        async with node.locks.hold("session-1", lambda: None):
            # The event loop stands still, as that of a frozen node does.
            wait_for(lambda: asked(database, holders) == [(0,)], "PostgreSQL to let go of it")
            with pytest.raises(StoreUnavailable, match="said nothing for 0.3 seconds"):
                node.store.commit(turn(), "session-1")
        assert asked(database, TURNS) == []


async def test_who_lives_keeps_it(database: str) -> None:
    """Also while the turn takes longer than silence may."""
    with node_store(database, silence=1.0) as node:
        async with node.locks.hold("session-1", lambda: None):
            await asyncio.to_thread(asked, database, "SELECT pg_sleep(1.5)")
            node.store.commit(turn(), "session-1")


async def test_who_waits_when_its_connection_is_lost_is_told(
    database: str, node: NodeStore
) -> None:
    async with node.locks.hold("session-1", lambda: None):
        waits = asyncio.Event()

        async def wait() -> None:
            async with node.locks.hold("session-1", waits.set):
                raise AssertionError

        waiting = asyncio.create_task(wait())
        await waits.wait()
        ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
        assert asked(database, ended) == [(True,)]
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await waiting
        node.store.commit(turn(), "session-1")


async def test_a_node_that_ends_waits_for_no_lock(database: str, node: NodeStore) -> None:
    with node_store(database) as other:
        async with node.locks.hold("session-1", lambda: None):
            waits = asyncio.Event()

            async def wait() -> None:
                async with other.locks.hold("session-1", waits.set):
                    raise AssertionError

            waiting = asyncio.create_task(wait())
            await waits.wait()
            await asyncio.to_thread(other.server.close)
            with pytest.raises(StoreUnavailable):
                await waiting


async def test_those_who_wait_are_not_in_the_way_of_who_holds(
    node: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: it can show that it lives, and give the lock back."""
    monkeypatch.setattr("sessionbridge.sessions.store.postgres.locks._WAITING", 2)
    locks = PostgresLocks(node.server)
    holder, *waiting = await queue(locks, locks, locks)
    not_begun, behind = Turn(locks), Turn(locks)
    await asyncio.sleep(0)
    await not_begun.leave()
    await behind.leave()
    last = Turn(locks)
    await one_by_one([holder, *waiting, last])


def test_its_connections_are_known_by_their_name(database: str, node: NodeStore) -> None:
    names = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = %s"
    node.store.count()
    found = asked(database, names, database.rpartition("/")[2])
    assert ("sessionbridge",) in found
