"""What `sessionbridge doctor` says of a database that several nodes share."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from sessionbridge.cli.checks.shared_database import check_shared_database, told
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.places import VARIABLE, place_of
from sessionbridge.sessions.store.postgres.health import ServerHealth
from sessionbridge.sessions.store.postgres.migrations import STEPS
from tests.support.doctor_fixtures import Place, ca, place
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import PASSWORD, Postgres
from tests.support.turn_records import turn

__all__ = ["ca", "place"]


def used(url: str) -> None:
    with closing(place_of(Path(), url)) as shared:
        shared.store(None, PATIENCE).commit(turn())


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def test_the_doctor_looks_at_it_instead_of_the_file(
    place: Place, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.home.mkdir()
    place.database.write_bytes(b"no database at all " * 100)
    monkeypatch.setenv(VARIABLE, database)
    found = place.findings()
    assert found["Database"]["status"] == "ok" and "Backup" not in found
    assert "no tables yet, which the first node makes" in found["Database"]["found"]
    assert PASSWORD not in str(found)


def test_one_in_use_is_left_as_it_is(tmp_path: Path, database: str) -> None:
    used(database)
    found = check_shared_database(tmp_path, database)
    shown = f"postgresql://{database.partition('@')[2]}, PostgreSQL "
    assert found.status == "ok" and found.found.startswith(shown)
    assert ", 1 conversations, " in found.found and " of 97 connections in use" in found.found


def test_pgbouncer_in_front_is_told(postgres: Postgres, tmp_path: Path, database: str) -> None:
    with running_pgbouncer(postgres, "transaction") as port:
        address = urlsplit(database)
        netloc = f"{address.username}:{PASSWORD}@127.0.0.1:{port}"
        found = check_shared_database(tmp_path, address._replace(netloc=netloc).geturl())
    assert found.status == "ok" and " through PgBouncer, " in found.found


@pytest.mark.parametrize(
    ("statement", "status", "note"),
    [
        ("DELETE FROM sessionbridge.steps", "warning", f"{len(STEPS)} steps behind"),
        ("INSERT INTO sessionbridge.steps (name) VALUES ('p999')", "problem", "version (p999)"),
        ("DROP TABLE sessionbridge.session_map", "problem", "its tables are not sessionbridge's"),
    ],
)
def test_what_is_wrong_with_its_tables_is_told(
    tmp_path: Path, database: str, statement: str, status: str, note: str
) -> None:
    used(database)
    execute(database, statement)
    found = check_shared_database(tmp_path, database)
    assert found.status == status and note in found.found and found.advice


def test_a_server_that_takes_no_writes_is_a_problem(tmp_path: Path, database: str) -> None:
    execute(
        database,
        f"ALTER DATABASE {database.rpartition('/')[2]} SET default_transaction_read_only = on",
    )
    found = check_shared_database(tmp_path, database)
    assert found.status == "problem" and found.found.endswith(": read-only")
    assert VARIABLE in found.advice


def test_a_server_with_few_connections_left_is_a_warning() -> None:
    health = ServerHealth("15.4", False, 77, 97, 3, (), (), is_pooled=False)
    assert told("db", health).status == "ok"
    found = told("db", replace(health, connections=78))
    assert found.status == "warning" and "nearly all connections are in use" in found.found
    assert found.advice.startswith("Raise max_connections")


@pytest.mark.parametrize(
    ("address", "note"),
    [
        (f"postgresql://bridge:{PASSWORD}@127.0.0.1:9/bridge", "cannot be reached"),
        (f"mysql://bridge:{PASSWORD}@127.0.0.1/bridge", "is not the address of a database"),
    ],
)
def test_what_cannot_be_reached_is_a_problem(tmp_path: Path, address: str, note: str) -> None:
    found = check_shared_database(tmp_path, address)
    assert found.status == "problem" and note in found.found and found.advice
    assert PASSWORD not in f"{found.found}{found.advice}"
