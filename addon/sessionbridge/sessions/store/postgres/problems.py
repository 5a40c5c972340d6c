"""What is wrong with a database on PostgreSQL, in sentences. None of them shows the password, which
may be part of its address."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from sessionbridge.errors import StoreUnavailable

_GONE = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
)
_OURS = (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError)


def shown(url: str) -> str:
    """Host, port and database."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_loss(error: BaseException) -> bool:
    """Whether the connection is gone: what was not committed before is not there."""
    if isinstance(error, _GONE):
        return True
    # Class 08 is that of connections; one that has ended has no code at all.
    state = error.sqlstate if isinstance(error, psycopg.OperationalError) else ""
    return state is None or state.startswith("08")


def unavailable(name: str, error: psycopg.Error | OSError) -> StoreUnavailable:
    """Raises the error itself where it is a fault of ours."""
    why = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
    match error:
        case errors.ReadOnlySqlTransaction():
            return StoreUnavailable(
                f"The session database {name} is read-only ({why}); point sessionbridge_store at "
                "the server that can be written to."
            )
        case errors.DiskFull() | errors.OutOfMemory():
            return StoreUnavailable(
                f"No room for the session database {name} ({why}); free some on its server."
            )
        case errors.QueryCanceled() | errors.LockNotAvailable():
            return StoreUnavailable(
                f"The session database {name} did not answer in time ({why}); try again, and see "
                "what its server is busy with if this goes on.",
                retry_after=30,
            )
        case errors.InsufficientPrivilege() | errors.InvalidCatalogName():
            return StoreUnavailable(
                f"The session database {name} cannot be used ({why}); create it, and let its user "
                "make a schema there."
            )
        case errors.UndefinedTable() | errors.UndefinedColumn():
            return StoreUnavailable(
                f"The session database {name} cannot be used: its tables are not sessionbridge's "
                f"({why}); use another database."
            )
        case errors.ProtocolViolation() if "statement pooling" in why:
            return StoreUnavailable(
                f"The session database {name} cannot be used through PgBouncer in statement mode; "
                "have it pool by transactions or sessions."
            )
        case psycopg.Error() if isinstance(error, _OURS):
            raise error
        case PoolTimeout():
            return StoreUnavailable(
                f"All connections to the session database {name} are in use; try again.",
                retry_after=5,
            )
    return StoreUnavailable(
        f"The session database {name} cannot be reached ({why}); see whether PostgreSQL runs there "
        "and lets this node in.",
        retry_after=5,
    )
