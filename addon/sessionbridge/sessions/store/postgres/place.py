"""A database on PostgreSQL that several nodes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sessionbridge.sessions.store import queries
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.postgres.channel import PostgresChannel
from sessionbridge.sessions.store.postgres.database import PostgresDatabase
from sessionbridge.sessions.store.postgres.health import ServerHealth
from sessionbridge.sessions.store.postgres.locks import PostgresLocks
from sessionbridge.sessions.store.postgres.server import Server
from sessionbridge.sessions.store.shared_files import SharedFiles
from sessionbridge.sessions.store.store import SessionStore


class Postgres:
    is_shared = True

    def __init__(self, url: str) -> None:
        self._server = Server(url)

    @property
    def name(self) -> str:
        return self._server.name

    def is_made(self) -> bool:
        return self._server.is_made()

    def examine(self) -> ServerHealth:
        return self._server.examine()

    def store(
        self,
        transcripts: Callable[[], Path] | None,
        patience: float,
        others: Callable[[], Sequence[Path]] = list,
    ) -> SessionStore:
        files = SharedFiles(transcripts()) if transcripts else None
        self._server.open(patience)
        engine = PostgresDatabase(self._server, patience)
        return SessionStore(engine, self._server.clock, files=files)

    def check(self, patience: float) -> None:
        PostgresDatabase(self._server, patience).check()

    def locks(self) -> PostgresLocks:
        return PostgresLocks(self._server)

    def channel(self) -> PostgresChannel:
        return PostgresChannel(self._server)

    def common(self, name: str, value: str) -> str:
        store = self.store(None, PATIENCE)
        return store.common(name, value.encode()).decode()

    def in_common(self, name: str) -> str | None:
        store = self.store(None, PATIENCE)
        found = store.engine.read(lambda db: queries.common(db, name))
        return found.decode() if found is not None else None

    def close(self) -> None:
        self._server.close()
