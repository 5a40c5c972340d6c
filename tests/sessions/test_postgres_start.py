"""A node and its database on PostgreSQL at the start: what is waited for, and what is refused."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store import clients
from sessionbridge.sessions.store.postgres import migrations
from sessionbridge.sessions.store.postgres.database import PostgresDatabase
from sessionbridge.sessions.store.postgres.server import Server
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import PASSWORD, ROLE, Postgres
from tests.support.postgres_stores import asked, node_store
from tests.support.proxy import free_port, wait_for
from tests.support.turn_records import KEY, turn


def refusal(url: str, patience: float = 5) -> str:
    server = Server(url)
    try:
        with pytest.raises(StoreUnavailable) as refused:
            server.open(patience)
    finally:
        server.close()
    return refused.value.message


def test_one_that_is_away_is_waited_for_and_then_told() -> None:
    port = free_port()
    said = refusal(f"postgresql://ann:{PASSWORD}@127.0.0.1:{port}/sessions", patience=0.5)
    assert said.startswith(f"The session database postgresql://127.0.0.1:{port}/sessions cannot be")
    assert "see whether PostgreSQL runs there" in said


def test_one_that_comes_back_is_found(postgres: Postgres, database: str) -> None:
    postgres.stop()
    server = Server(database)
    opening = threading.Thread(target=server.open)
    opening.start()
    wait_for(server._opening.locked, "it to look for the server")
    postgres.start()
    opening.join()
    PostgresDatabase(server, 5).check()
    server.close()


def test_one_of_a_later_version_is_left_as_it_is(database: str) -> None:
    with node_store(database) as older:
        older.store.commit(turn())
        asked(database, "ALTER TABLE sessionbridge.turns ADD COLUMN later text")
        asked(database, "INSERT INTO sessionbridge.steps (name) VALUES ('p999_later')")
        assert "later version of sessionbridge (p999_later)" in refusal(database)
        # A node that was there before goes on.
        older.store.commit(turn(history_hash="more", tip_uuid="tip-2", points=()))
        assert [kept.history_hash for kept in older.store.turns(KEY)] == ["history", "more"]


FOREIGN = [
    "CREATE TABLE sessionbridge.turns (title text)",
    "CREATE TABLE sessionbridge.steps (title text)",
    "CREATE VIEW sessionbridge.points AS SELECT 1 AS hash",
]


@pytest.mark.parametrize("table", FOREIGN)
def test_tables_that_are_not_ours_are_left_as_they_are(database: str, table: str) -> None:
    asked(database, "CREATE SCHEMA sessionbridge")
    asked(database, table)
    assert "its tables are not sessionbridge's" in refusal(database)
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'sessionbridge'"
    assert asked(database, tables) == [(1,)]


@pytest.fixture
def guest(postgres: Postgres, database: str) -> Iterator[str]:
    """The URL of a user who owns nothing."""
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    postgres.execute("GRANT guest TO {}", ROLE)
    yield database.replace(f"{ROLE}:{PASSWORD}", "guest:guest")
    asked(database, "DROP OWNED BY guest")
    postgres.execute("DROP ROLE guest")


def test_a_user_without_rights_is_told(database: str, guest: str) -> None:
    name = database.rpartition("/")[2]
    assert f"permission denied for database {name}" in refusal(guest)
    with node_store(database):
        pass
    assert "permission denied" in refusal(guest)


def test_a_schema_that_was_made_for_its_user_is_enough(database: str, guest: str) -> None:
    asked(database, "CREATE SCHEMA sessionbridge AUTHORIZATION guest")
    with node_store(guest) as node:
        node.store.commit(turn())


def test_another_encoding_is_refused(postgres: Postgres) -> None:
    postgres.execute(
        "CREATE DATABASE latin OWNER {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", ROLE
    )
    try:
        assert "has the encoding LATIN1; create one with UTF8" in refusal(postgres.url("latin"))
    finally:
        postgres.execute("DROP DATABASE latin")


def test_a_pgbouncer_that_pools_statements_is_refused(postgres: Postgres, database: str) -> None:
    with running_pgbouncer(postgres, "statement") as port:
        said = refusal(database.replace(f":{postgres.port}/", f":{port}/"))
    assert "cannot be used through PgBouncer in statement mode" in said


def test_all_that_start_at_once_have_the_same_tables(database: str) -> None:
    servers = [Server(database) for _ in range(5)]
    with ThreadPoolExecutor(5) as threads:
        list(threads.map(Server.open, servers))
    steps = asked(database, "SELECT count(*) FROM sessionbridge.steps")
    assert steps == [(len(migrations.STEPS),)]
    for server in servers:
        server.close()


ENDS = """
import os
from sessionbridge.sessions.store.postgres.server import Server

server = Server(os.environ["STORE"])
server.open()
server.take_for_lock()
"""


def test_a_process_ends_without_closing_it(database: str) -> None:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "STORE": database}
    command = [sys.executable, "-c", ENDS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""  # where psycopg tells what it waits for


# -- no password is ever shown ---------------------------------------------------------------------

SECRET = "xyzzy"

WRONG = [
    f"postgresql://{ROLE}:{SECRET}@127.0.0.1:{{port}}/sessions",
    f"postgresql://127.0.0.1:{{port}}/sessions?user={ROLE}&password={SECRET}",
    f"postgresql://{ROLE}:7{SECRET}@{SECRET}@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:{SECRET}/{SECRET}@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:7/{SECRET}@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:7/{SECRET}?a=b@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:{SECRET}#{SECRET}@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:{SECRET}?{SECRET}@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:%{SECRET}@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:[{SECRET}]@127.0.0.1:{{port}}/sessions",
    f"postgresql://{ROLE}:{SECRET}@127.0.0.1:{{port}}{SECRET}/sessions?password={SECRET}",
]


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_password_is_told_at_once_and_not_shown(
    postgres: Postgres, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    postgres.start()
    caplog.set_level(logging.DEBUG)
    shown = list[str]()
    with pytest.raises(StoreUnavailable) as refused:
        server = Server(url.format(port=postgres.port))
        shown += [repr(server), server.name]
        server.open()
    shown += [refused.value.message, caplog.text, *traceback.format_exception(refused.value)]
    assert re.search("is no address|does not let this node in", refused.value.message)
    assert not [text for text in shown if SECRET in text]


def test_this_version_goes_on_where_a_later_one_adds_columns(database: str, tmp_path: Path) -> None:
    """Also with what has been prepared by then."""
    with node_store(database, folder=tmp_path) as node:

        def use(number: int) -> None:
            answer = f"answer-{number}"
            store = node.store
            (tmp_path / "session-1.jsonl").write_text(f'"{number}"\n')
            last = store.commit(turn(history_hash=str(number), response_id=answer))
            store.bring_in("session-1")
            assert store.lineage(KEY, [str(number)]).tip is not None
            assert store.last_ended(last) is not None
            assert store.response(answer) is not None
            assert store.ended_at(KEY, "tip") is not None
            assert store.turns(KEY)[-1].id == last
            assert store.holdings(KEY).sessions == ("session-1",)
            store.set(KEY, "session-1")
            assert node.engine.read(lambda db: clients.by_token(db, "nobody's")) is None
            store.forget_response(answer)

        for number in range(6):
            use(number)
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'sessionbridge'"
        for (table,) in asked(database, tables):
            added = SQL("ALTER TABLE sessionbridge.{} ADD COLUMN later text")
            asked(database, added.format(Identifier(table)))
        use(6)
