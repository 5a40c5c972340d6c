"""The PostgreSQL and PgBouncer of the tests are what other tests take them for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.pgbouncer import PoolMode, running_pgbouncer
from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import ROOT, wait_for


def test_what_was_committed_is_there_after_a_kill(postgres: Postgres, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (it text)")
        connection.execute("INSERT INTO kept VALUES ('all of it')")
        (backend,) = postgres.backends(database)
        assert backend == connection.info.backend_pid
        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    postgres.start()
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT it FROM kept").fetchall() == [("all of it",)]


def test_nobody_gets_in_without_the_password(postgres: Postgres, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database.replace(PASSWORD, "guessed"))
    assert PASSWORD not in postgres.log.read_text()


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_pgbouncer_lends_a_connection_for_as_long_as_its_mode_says(
    postgres: Postgres, database: str, mode: PoolMode
) -> None:
    with running_pgbouncer(postgres, mode) as port:
        url = database.replace(f":{postgres.port}/", f":{port}/")
        with psycopg.connect(url) as one, psycopg.connect(url) as two:
            assert (_backend(one) == _backend(two)) == (mode == "transaction")


def _backend(connection: psycopg.Connection[Any]) -> Any:
    with connection.transaction():
        return connection.execute("SELECT pg_backend_pid()").fetchone()


def test_postgres_ends_with_tests_that_are_killed() -> None:
    program = """
from tests.support.postgres import running_postgres
with running_postgres() as server:
    print(server.process.pid, server.log.parent, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        pid, folder = tests.stdout.readline().split()
        tests.kill()
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "PostgreSQL to end")
    shutil.rmtree(folder)
