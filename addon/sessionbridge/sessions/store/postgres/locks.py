"""One turn at a time per session, over all nodes of one database.

A lock is PostgreSQL's own, held by a transaction that is open for as long as the turn runs, and in
which the turn is committed. So its end and the commit are one; who is killed, or says nothing for
`SILENCE` seconds, has lost both; and they are had in the order in which they were asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow

from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.postgres import problems
from sessionbridge.sessions.store.postgres.server import SILENCE, Server, begin

_THREADS = 100
"""Each that waits for a lock has one."""

_BEAT_SECONDS = SILENCE / 3


class PostgresLocks(Locks):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sessionbridge-locks")

    @asynccontextmanager
    async def hold(self, name: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        number = _number(name)
        connection = await self._taken()
        try:
            if not await self._asked(connection, "pg_try_advisory_xact_lock", number):
                on_wait()
                await self._asked(connection, "pg_advisory_xact_lock", number)
            self._server.held[name] = connection
            beating = asyncio.create_task(self._beat(connection))
            try:
                yield
            finally:
                beating.cancel()
                if self._server.held.get(name) is connection:
                    del self._server.held[name]
        finally:
            await asyncio.shield(self._in_thread(lambda: self._server.give_back(connection)))

    async def _taken(self) -> Connection[DictRow]:
        """Given back also where nobody waits for it any more."""
        taking = self._in_thread(self._server.take_for_lock)
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait([taking])
            if taking.exception() is None:
                await self._in_thread(lambda: self._server.give_back(taking.result()))
            raise

    async def _asked(self, connection: Connection[DictRow], function: str, number: int) -> bool:
        def ask() -> bool:
            try:
                if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                    begin(connection, None)
                told = connection.execute(f"SELECT {function}(%s) AS had", [number]).fetchone()
            except psycopg.Error as error:
                raise problems.unavailable(self._server.name, error) from error
            return told is not None and told["had"] is not False

        asking = self._in_thread(ask)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            with suppress(psycopg.Error):
                await self._in_thread(lambda: connection.cancel_safe(timeout=5))
            await asyncio.wait([asking])
            asking.exception()
            raise

    async def _beat(self, connection: Connection[DictRow]) -> None:
        """Until it is lost, which the commit finds out."""

        def beat() -> None:
            connection.execute("SELECT 1")

        with suppress(psycopg.Error):
            while True:
                await asyncio.sleep(_BEAT_SECONDS)
                await self._in_thread(beat)

    def _in_thread[T](self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)


def _number(name: str) -> int:
    digest = sha256(name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], signed=True)
