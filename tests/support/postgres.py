"""A PostgreSQL of the tests' own, at 127.0.0.1 alone and with passwords (SCRAM).

One serves all tests of a pytest worker, and each test has a database of its own: a cluster takes
0.5 s to make, a database 55 ms and 10 ms to drop, with either of PostgreSQL 15's strategies.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tests.support.daemons import as_ordinary_user, folder_of_its_own, given_away, needed, started
from tests.support.proxy import free_port, wait_for

ROLE = "bridge"
"""Owns the databases of the tests, and may do nothing else."""

PASSWORD = "never-shown-Zs7qVx2"
"""The role's and the superuser's. No log, error or command line may hold it."""

_SUPERUSER = "postgres"

# A test may kill the server or this machine's tests, but not the machine: what was written is kept
# by the kernel. synchronous_commit stays on, so that a killed server has all that was committed.
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
"""
_QUICK = """
fsync = off
full_page_writes = off
"""
_LASTING = """
max_connections = 300
"""


class Postgres:
    """`log` is the server's own, of all its starts, and `programs` the folder of its programs. A
    `quick` one is not safe from power cuts."""

    def __init__(
        self, programs: Path, folder: Path, *, quick: bool = True, settings: str = ""
    ) -> None:
        self._quick = quick
        self._settings = settings
        self.programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._names = (f"test_{number}" for number in count(1))
        self.log = folder / "postgres.log"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        given_away(password)
        command: list[str | Path] = [self.programs / "initdb", "--pgdata", self._data]
        command += ["--username", _SUPERUSER, "--pwfile", password, "--auth", "scram-sha-256"]
        command += ["--encoding", "UTF8", "--locale", "C", "--no-instructions"]
        if self._quick:
            command += ["--wal-segsize", "1", "--no-sync"]  # MB, not 16
        subprocess.run(as_ordinary_user(command), cwd=self._folder, capture_output=True, check=True)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}{_QUICK if self._quick else _LASTING}port = {self.port}\n")
            file.write(self._settings)
        self.start()
        self.execute("CREATE ROLE {} LOGIN", ROLE)
        with self._superuser() as connection:
            # The client makes the verifier (as psql's \password does), so no log has the password.
            verifier = connection.pgconn.encrypt_password(PASSWORD.encode(), ROLE.encode())
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
            connection.execute(statement.format(sql.Identifier(ROLE), verifier.decode()))

    def start(self) -> None:
        """Returns when it takes connections; does nothing where it runs."""
        if self.process is not None and self.process.poll() is None:
            return
        command = [str(self.programs / "postgres"), "-D", str(self._data)]
        # SIGQUIT is its immediate shutdown, which ends its children and frees shared memory.
        self.process = started(
            command, self._folder, self.log, ready=self._answers, ended_by="QUIT"
        )

    def stop(self, *, immediate: bool = False) -> None:
        """A fast shutdown ends what runs and writes all; an immediate one is as a crash."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            self.process.wait(30)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """`kill -9` for all of its processes at once, as when the machine goes down."""
        assert self.process is not None
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in [pid, *map(int, children)]:
            os.kill(process, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not any(map(_runs, children)), "the processes of PostgreSQL to be gone")

    def backends(self, url: str) -> list[int]:
        """The pids of those that serve the database of this URL, for signals. After a `kill -9` of
        one PostgreSQL ends all others too, and recovers."""
        asked = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        with self._superuser() as connection:
            found = connection.execute(asked, (url.rpartition("/")[2],)).fetchall()
        return [int(pid) for (pid,) in found]

    def url(self, database: str) -> str:
        return f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new one; the server runs at its begin, whatever the test before has done."""
        self.start()
        name = next(self._names)
        self.execute("CREATE DATABASE {} OWNER {}", name, ROLE)
        yield self.url(name)
        self.start()
        self.execute("DROP DATABASE {} WITH (FORCE)", name)

    def execute(self, statement: LiteralString, *names: str) -> list[Any]:
        """The rows of a statement of the superuser's, in which `{}` stand for these names."""
        with self._superuser() as connection:
            cursor = connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
            return cursor.fetchall() if cursor.description else []

    def _superuser(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=_SUPERUSER,
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
        )

    def _answers(self) -> bool:
        try:
            self._superuser().close()
        except psycopg.OperationalError:
            return False
        return True


def _runs(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


@contextmanager
def running_postgres(*, quick: bool = True, settings: str = "") -> Iterator[Postgres]:
    """`settings` are lines of its configuration. Skips the test where PostgreSQL is not
    installed."""
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(installed, key=lambda place: int(place.parent.name), reverse=True)
    programs = needed("postgres", "postgresql", *newest_first).parent
    with folder_of_its_own("postgres") as folder:
        server = Postgres(programs, folder, quick=quick, settings=settings)
        try:
            server.create()
            yield server
        finally:
            server.stop(immediate=True)
