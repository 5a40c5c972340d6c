"""The engine of the store on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Any

import psycopg
from psycopg import Pipeline, errors

from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.engine import (
    PATIENCE,
    CommitUnknown,
    Database,
    Dialect,
    Params,
    without_nul,
)
from sessionbridge.sessions.store.postgres import connections, problems
from sessionbridge.sessions.store.postgres.connections import Connection, Silent
from sessionbridge.sessions.store.postgres.server import Server, milliseconds

_PARAMETER = re.compile(r":([a-z_][a-z_0-9]*)")

_ATTEMPTS = 3
"""At a transaction that others were in the way of, or whose connection was lost."""

_FETCHED = 1000
"""Rows at a time."""


class PostgresDatabase:
    """For one thread at a time; the `server` is shared."""

    def __init__(self, server: Server, patience: float = PATIENCE) -> None:
        self._server = server
        self._patience = patience

    @property
    def replaced(self) -> bool:
        return False

    def wait_at_most(self, seconds: float) -> None:
        self._patience = seconds

    def close(self) -> None:
        """The connections are the server's."""

    def check(self) -> None:
        """Raises `StoreUnavailable` where nothing could be written now."""
        self.write(_check_writable)

    def read[T](self, work: Callable[[Database], T]) -> T:
        return self._question(work, reading=True)

    def write[T](self, work: Callable[[Database], T], under: str | None = None) -> T:
        return self._question(work) if under is None else self._under(under, work)

    def _question[T](self, work: Callable[[Database], T], *, reading: bool = False) -> T:
        for attempt in range(_ATTEMPTS):
            last = attempt == _ATTEMPTS - 1
            done = False
            with self._server.question(self._patience) as connection:
                try:
                    with connection.pipeline() as pipeline:
                        self._server.begin(connection, self._patience, reading=reading)
                        result = work(_Transaction(connection, self._server.dialect))
                        if reading:
                            done = True
                            connection.execute("COMMIT")
                        else:
                            pipeline.sync()  # what fails until here is done once more
                            self._commit(connection, pipeline)
                            done = True
                except psycopg.Error as error:
                    _roll_back(connection)
                    if done:
                        return result
                    lost = problems.is_loss(error)
                    if isinstance(error, Silent):
                        self._server.renew()
                    if last or not (lost or isinstance(error, problems.IN_THE_WAY)):
                        raise self._server.unavailable(error) from error
                except BaseException:
                    _roll_back(connection)
                    raise
                else:
                    return result
            if lost:
                self._server.renew()
        raise AssertionError("unreachable")

    def _under[T](self, lock: str, work: Callable[[Database], T]) -> T:
        """In the transaction that holds the lock, which ends with it."""
        connection = self._server.held.pop(lock, None)
        if connection is None:
            raise self._lost()
        done = False
        try:
            with self._server.use_of(connection), connection.pipeline() as pipeline:
                connection.patience = self._patience + connections.BRIEF
                connection.execute(f"SET LOCAL statement_timeout = {milliseconds(self._patience)}")
                result = work(_Transaction(connection, self._server.dialect))
                self._commit(connection, pipeline)
                done = True
            return result
        except psycopg.Error as error:
            _roll_back(connection)
            if done:
                return result
            if problems.is_loss(error):
                raise self._lost() from error
            raise self._server.unavailable(error) from error
        except BaseException:
            _roll_back(connection)
            raise

    def _commit(self, connection: Connection, pipeline: Pipeline) -> None:
        try:
            connection.execute("COMMIT")
            pipeline.sync()
        except psycopg.Error as error:
            silent = isinstance(error, Silent)
            if silent or problems.is_loss(error):
                what = "did not answer" if silent else "went away"
                raise CommitUnknown(
                    f"The session database {self._server.name} {what} while it was told to keep "
                    "something; see whether PostgreSQL runs there."
                ) from error
            raise

    def _lost(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"The session database {self._server.name} has let go of this conversation, because it "
            "was restarted or did not answer, or this node said nothing for "
            f"{self._server.silence:g} seconds; others may have gone on with it. Send the turn "
            "again."
        )


class _Transaction:
    """In a pipeline: an answer is waited for when it is read. Texts cannot hold NUL, which may come
    in names that clients choose."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._cursors = count(1)
        self.dialect = dialect

    def query(self, sql: str, params: Params) -> Iterable[Mapping[str, Any]]:
        return self._connection.execute(_translated(sql), without_nul(params))

    def stream(self, sql: str) -> Iterator[Mapping[str, Any]]:
        """By a cursor of the server's, which ends with the transaction."""
        name = f"rows_{next(self._cursors)}"
        self._connection.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {_translated(sql)}")
        while rows := self._connection.execute(f"FETCH {_FETCHED} FROM {name}").fetchall():
            yield from rows

    def execute(self, sql: str, params: Params) -> None:
        self._connection.execute(_translated(sql), without_nul(params))

    def execute_many(self, sql: str, rows: Iterable[Params]) -> None:
        self._connection.cursor().executemany(_translated(sql), [without_nul(row) for row in rows])

    def alone(self, key: SessionKey) -> None:
        sql = "SELECT pg_advisory_xact_lock(hashtext(:scope), hashtext(:name))"
        name = f"{key.external_id}\n{key.provider}"
        self.execute(sql, {"scope": key.scope, "name": name})


def _check_writable(db: Database) -> None:
    (told,) = db.query("SHOW transaction_read_only", {})
    if told["transaction_read_only"] == "on":
        raise errors.ReadOnlySqlTransaction("transaction_read_only is on")


def _roll_back(connection: Connection) -> None:
    with suppress(psycopg.Error):
        connection.rollback()


@lru_cache(maxsize=256)
def _translated(sql: str) -> str:
    return _PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%"))
