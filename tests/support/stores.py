"""The store on each engine, for tests that ask both the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.postgres.database import PostgresDatabase
from sessionbridge.sessions.store.postgres.server import Server
from sessionbridge.sessions.store.store import SessionStore

ENGINES = ("sqlite", "postgres")


@contextmanager
def opened_store(
    request: pytest.FixtureRequest, home: Path, clock: Callable[[], float] = time.time
) -> Iterator[SessionStore]:
    """On the engine that is the fixture's parameter."""
    if request.param == "sqlite":
        store = SessionStore.open(Home(home).database, clock=clock)
        yield store
        store.close()
    else:
        server = Server(request.getfixturevalue("database"))
        server.open()
        yield SessionStore(PostgresDatabase(server), clock)
        server.close()
