"""Whether the database that nodes share is in order, found out without changing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from sessionbridge.sessions.store.postgres import migrations

# Shown to every user, unlike what its backends do (pg_stat_activity).
_SERVER_SQL = """
    SELECT current_setting('server_version') AS version,
        current_setting('transaction_read_only') = 'on' AS is_read_only,
        CAST((SELECT sum(numbackends) FROM pg_stat_database) AS integer) AS connections,
        CAST(current_setting('max_connections') AS integer)
            - CAST(current_setting('superuser_reserved_connections') AS integer) AS most
"""


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """`version` is PostgreSQL's, `connections` are those in use of at `most` so many, of all
    databases. `conversations` is None where there are no tables yet. `pending` are steps that the
    next start will do, `unknown` those of a later version. `clients` are the names of those that
    are known by a token, or were."""

    version: str
    is_read_only: bool
    connections: int
    most: int
    conversations: int | None
    pending: tuple[str, ...]
    unknown: tuple[str, ...]
    is_pooled: bool
    clients: tuple[str, ...] = ()


def examine(connection: Connection[Any], *, is_pooled: bool) -> ServerHealth:
    """In a transaction, which PgBouncer lets nobody have in statement mode."""
    with connection.transaction():
        told = connection.execute(_SERVER_SQL).fetchone()
        assert told is not None
        begun = migrations.is_begun(connection)
        pending, unknown = migrations.others(connection) if begun else ((), ())
        known = None
        if begun:
            counted = f"SELECT count(*) AS n FROM {migrations.SCHEMA}.session_map"
            found = connection.execute(counted).fetchone()
            known = found["n"] if found else 0
        clients = _clients(connection)
    return ServerHealth(
        **told,
        conversations=known,
        pending=pending,
        unknown=unknown,
        is_pooled=is_pooled,
        clients=clients,
    )


def _clients(connection: Connection[Any]) -> tuple[str, ...]:
    table = f"{migrations.SCHEMA}.clients"
    found = connection.execute("SELECT to_regclass(%s) AS known", [table]).fetchone()
    if found is None or found["known"] is None:
        return ()
    rows = connection.execute(f"SELECT name FROM {table}").fetchall()
    return tuple(row["name"] for row in rows)
