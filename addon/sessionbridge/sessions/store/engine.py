"""What the store asks of a database: SQL that SQLite and PostgreSQL both understand, and the few
expressions that they write in different ways.

Parameters are named, `:name`. Comparisons are true, false or null: they are counted, never added
up. GROUP BY has every column that is read as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import SessionKey

Params = Mapping[str, Any]

PATIENCE = 30.0
"""Seconds that are waited for a database that is locked, or cannot be reached, and for an answer of
its server. Who asks again is told to wait as long for a lock: when it is let go is not known, but
it has been held for that long."""


class CommitUnknown(StoreUnavailable):
    """The database went away while a transaction was to be committed."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """SQL expressions of the column `started_at`, in epoch seconds: the day as `2026-11-30`, on the
    reader's clock and in UTC, and when the hour or the reader's day began, in epoch seconds.
    `listed` has one column, `value`: the texts of the parameter `:listed`, a JSON list, in order.
    `number_on` is a query that has turns numbered on from those that were inserted with a number.
    """

    day: str
    utc_day: str
    begin_of_hour: str
    begin_of_day: str
    listed: str
    number_on: str


class Database(Protocol):
    """One transaction."""

    @property
    def dialect(self) -> Dialect: ...

    def query(self, sql: str, params: Params) -> Iterable[Mapping[str, Any]]:
        """To be read to the end. Several that are asked before the first is read take only as long
        as one, where the database is far away."""

    def stream(self, sql: str) -> Iterator[Mapping[str, Any]]:
        """Rows of which there may be more than memory holds."""

    def execute(self, sql: str, params: Params) -> None:
        """Is not waited for, but done before what is asked after it."""

    def execute_many(self, sql: str, rows: Iterable[Params]) -> None: ...

    def alone(self, key: SessionKey) -> None:
        """Until the transaction ends, no other that asks for the same goes on. Asked first where
        what is written depends on what is read."""


class Engine(Protocol):
    """A database that others use at the same time. `work` may be done again from its beginning. All
    raise `StoreUnavailable` where the database cannot be used."""

    def read[T](self, work: Callable[[Database], T]) -> T:
        """What it reads is of one moment, however many questions that takes, and waits for no
        other's writing."""

    def write[T](self, work: Callable[[Database], T], under: str | None = None) -> T:
        """All that it writes is there, or nothing. `under` is the lock that this needs: who has
        lost it writes nothing."""

    @property
    def replaced(self) -> bool:
        """Whether there is another database by now in the place of the one that was written to."""

    def wait_at_most(self, seconds: float) -> None:
        """For a database that others have locked."""

    def close(self) -> None: ...


def first(db: Database, sql: str, params: Params) -> Mapping[str, Any] | None:
    return first_of(db.query(sql, params))


def first_of(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next(iter(list(rows)), None)


def insert(db: Database, table: str, row: Mapping[str, Any]) -> int:
    """Returns its `id`."""
    (inserted,) = db.query(f"{insert_sql(table, row)} RETURNING id", row)
    return int(inserted["id"])


def insert_sql(table: str, row: Mapping[str, Any]) -> str:
    columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    return f"INSERT INTO {table} ({columns}) VALUES ({values})"


def without_nul(row: Mapping[str, Any]) -> dict[str, Any]:
    """As PostgreSQL keeps it, whose texts cannot hold NUL."""
    return {
        name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
        for name, value in row.items()
    }
