"""What nodes of one database say to each other: LISTEN and NOTIFY, which PgBouncer does not pass on
to whoever has no connection of the server's to itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

import psycopg

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.postgres.database import PostgresDatabase
from sessionbridge.sessions.store.postgres.server import Server

logger = logging.getLogger(__name__)

_NAME = "sessionbridge_holders"
_AGAIN = 1.0
"""Seconds until a database that is away is tried again."""

_PATIENCE = 5.0
"""Seconds for what others are only told to be quicker."""

_QUIET = 10.0
"""Seconds after which one who hears nothing asks whether the server is still there."""


class PostgresChannel:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def heard(self) -> AsyncGenerator[str | None]:
        while True:
            try:
                await asyncio.to_thread(self._server.open, _AGAIN)
                if self._server.is_pooled:
                    logger.warning(
                        "PgBouncer is before the session database %s: which conversations another "
                        "node holds is not known here, and their turns are taken over.",
                        self._server.name,
                    )
                    return
                async with await self._server.listening() as connection:
                    connection.patience += _QUIET
                    await connection.execute(f"LISTEN {_NAME}")
                    yield None
                    while True:
                        async for notify in connection.notifies(timeout=_QUIET):
                            yield notify.payload
                        await connection.execute("SELECT 1")
            except (psycopg.Error, StoreUnavailable) as error:
                logger.debug("no connection to hear other nodes by: %s", type(error).__name__)
            await asyncio.sleep(_AGAIN)

    def clock(self) -> float:
        return self._server.clock()

    async def say(self, texts: Sequence[str]) -> None:
        await asyncio.to_thread(self._say, texts)

    def _say(self, texts: Sequence[str]) -> None:
        """In a transaction of its own: all of the server that notify are committed one by one."""

        def notify(db: Database) -> None:
            for text in texts:
                db.execute("SELECT pg_notify(:channel, :text)", {"channel": _NAME, "text": text})

        PostgresDatabase(self._server, _PATIENCE).write(notify)
