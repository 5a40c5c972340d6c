"""What is wrong with a database on PostgreSQL, in sentences. None of them shows the password, which
may be part of its address: an address that libpq would take apart in another way than it was meant
is refused before libpq can quote a part of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.postgres.connections import Silent

_GONE = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
)
_OURS = (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError)

IN_THE_WAY = (errors.SerializationFailure, errors.DeadlockDetected)
"""Others were, and it may be tried again."""


def shown(url: str) -> str:
    """Host, port and database. Raises `StoreUnavailable` for what is no address."""
    parts = _parts(url)
    if parts is None:
        raise StoreUnavailable(
            "sessionbridge_store is no address that PostgreSQL understands. In a password @ is "
            "written as %40, / as %2F, : as %3A and % as %25; or leave it out of the address, and "
            "set PGPASSWORD."
        )
    host, port, database = (str(parts.get(name, "")) for name in ("host", "port", "dbname"))
    return f"postgresql://{host}{port and f':{port}'}/{database}"


def _parts(url: str) -> Mapping[str, Any] | None:
    user, at, place = url.partition("://")[2].partition("@")
    if at and ("@" in place.partition("?")[0] or ("/" in user and "?" not in user)):
        return None
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return None
    return parts if re.fullmatch("[0-9,]*", str(parts.get("port", ""))) else None


def is_loss(error: BaseException) -> bool:
    """Whether the server has ended the connection: what was not committed before is not there."""
    if isinstance(error, _GONE):
        return True
    if isinstance(error, Silent) or _pools_statements(error):
        return False
    # Class 08 is that of connections; one that has ended has no code at all.
    state = error.sqlstate if isinstance(error, psycopg.OperationalError) else ""
    return state is None or state.startswith("08")


def is_refused(error: psycopg.Error) -> bool:
    """Whether the server answers, and wants somebody else: to wait does not help."""
    connection = error.pgconn
    return connection is not None and (connection.used_password or connection.needs_password)


def _pools_statements(error: BaseException) -> bool:
    """PgBouncer's answer to BEGIN then (measured with 1.18)."""
    return isinstance(error, errors.ProtocolViolation) and "statement pooling" in str(error)


_SENTENCES: tuple[tuple[tuple[type[psycopg.Error], ...], str, int | None], ...] = (
    (
        (errors.ReadOnlySqlTransaction,),
        "The session database {name} is read-only ({why}); point sessionbridge_store at the server "
        "that can be written to.",
        None,
    ),
    (
        (errors.DiskFull, errors.OutOfMemory),
        "No room for the session database {name} ({why}); free some on its server.",
        None,
    ),
    (
        (errors.QueryCanceled, errors.LockNotAvailable, Silent),
        "The session database {name} did not answer in time ({why}); try again, and see what its "
        "server is busy with if this goes on.",
        30,
    ),
    (
        (errors.InsufficientPrivilege,),
        "The session database {name} cannot be used ({why}); let its user make a schema there, and "
        "have what is in it.",
        None,
    ),
    (
        (
            errors.UndefinedTable,
            errors.UndefinedColumn,
            errors.DuplicateTable,
            errors.WrongObjectType,
        ),
        "The session database {name} cannot be used: its tables are not sessionbridge's ({why}); "
        "use another database.",
        None,
    ),
    (IN_THE_WAY, "Others were in the way in the session database {name} ({why}); try again.", 1),
    (
        (PoolTimeout,),
        "All connections to the session database {name} are in use; try again.",
        5,
    ),
)
_LOCKS = (
    "The session database {name} has no room for more locks ({why}); raise "
    "max_locks_per_transaction there."
)
_STATEMENTS = (
    "The session database {name} cannot be used through PgBouncer in statement mode; have it pool "
    "by transactions or sessions."
)
_KEPT_OUT = (
    "The session database {name} does not let this node in ({why}); see to its user, its password "
    "and the database there, and to max_connections."
)
_AWAY = "The session database {name} cannot be reached ({why}); see whether PostgreSQL runs there."


def unavailable(name: str, error: psycopg.Error) -> StoreUnavailable:
    """Raises the error itself where it is a fault of ours."""
    why = str(error).strip().partition("\n")[0] or type(error).__name__
    if "max_locks_per_transaction" in (error.diag.message_hint or ""):
        return _told(_LOCKS, name, why, retry_after=5)
    for kinds, sentence, retry_after in _SENTENCES:
        if isinstance(error, kinds):
            return _told(sentence, name, why, retry_after)
    if isinstance(error, _OURS):
        raise error
    if _pools_statements(error):
        return _told(_STATEMENTS, name, why)
    return _told(_KEPT_OUT if "FATAL" in why else _AWAY, name, why, retry_after=5)


def _told(sentence: str, name: str, why: str, retry_after: int | None = None) -> StoreUnavailable:
    return StoreUnavailable(sentence.format(name=name, why=why), retry_after=retry_after)
