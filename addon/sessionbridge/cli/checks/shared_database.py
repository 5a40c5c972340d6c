"""The database on PostgreSQL that several nodes share."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sessionbridge.cli.checks.finding import Finding, Status
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.places import VARIABLE, place_of

if TYPE_CHECKING:
    from sessionbridge.sessions.store.postgres.health import ServerHealth

_NAME = "Database"

_MANY = 0.8
"""Of all connections."""


def check_shared_database(home: Path, address: str) -> Finding:
    """The worst of what there is to say of it."""
    try:
        return told(*_examined(home, address))
    except StoreUnavailable as error:
        found, _, advice = error.message.rpartition("; " if "; " in error.message else ": ")
        return Finding(_NAME, "problem", found, f"{advice[:1].upper()}{advice[1:]}")


def clients_in(home: Path, address: str) -> tuple[str, ...] | None:
    """The names of the clients; None where they cannot be read."""
    try:
        return _examined(home, address)[1].clients
    except StoreUnavailable:
        return None


def _examined(home: Path, address: str) -> tuple[str, ServerHealth]:
    """Its name, too. Raises `StoreUnavailable`."""
    place = place_of(home, address)
    # Not before it is known that what it needs is installed.
    from sessionbridge.sessions.store.postgres.place import Postgres

    assert isinstance(place, Postgres)
    with closing(place):
        return place.name, place.examine()


def told(name: str, health: ServerHealth) -> Finding:
    through = " through PgBouncer" if health.is_pooled else ""
    server = f"{name}, PostgreSQL {health.version}{through}"
    used = f"{health.connections} of {health.most} connections in use"
    notes = [(note, advice) for note, advice in _notes(health) if note]
    if notes:
        status: Status = "problem" if health.unknown or health.is_read_only else "warning"
        found = f"{server}, {used}: {'; '.join(note for note, _ in notes)}"
        return Finding(_NAME, status, found, " ".join(advice for _, advice in notes))
    if health.conversations is None:
        kept = "no tables yet, which the first node makes"
    else:
        kept = f"{health.conversations} conversations"
    return Finding(_NAME, "ok", f"{server}, {kept}, {used}")


def _notes(health: ServerHealth) -> list[tuple[str, str]]:
    many = health.connections >= health.most * _MANY
    return [
        (
            f"written by a later version ({', '.join(health.unknown)})" if health.unknown else "",
            "Update sessionbridge on this node: this version does not use it.",
        ),
        (
            "read-only" if health.is_read_only else "",
            f"Point {VARIABLE} at the server that can be written to.",
        ),
        (
            f"{len(health.pending)} steps behind this version" if health.pending else "",
            "Nothing to do: the next start of a node brings it up to date.",
        ),
        (
            "nearly all connections are in use" if many else "",
            "Raise max_connections, or put PgBouncer in front of it.",
        ),
    ]
