"""One turn at a time per session, over all nodes of one database.

A lock is PostgreSQL's own, held by a transaction that is open for as long as the turn runs, and in
which the turn is committed. So its end and the commit are one; who is killed, or says nothing for
`Server.silence` seconds, has lost both; and they are had in the order in which they were asked for.

A turn that has lost its lock goes on until its commit fails. Those of the same node wait for that:
the lock that they have by then is not to be taken for its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from hashlib import sha256
from weakref import WeakValueDictionary

import psycopg
from psycopg.errors import Diagnostic

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.postgres import connections
from sessionbridge.sessions.store.postgres.connections import Connection
from sessionbridge.sessions.store.postgres.database import PostgresDatabase
from sessionbridge.sessions.store.postgres.server import Server

_WAITING = 100
"""Threads, of which each that waits for a lock has one."""

_BRIEF = 8
"""Threads for the rest: who holds a lock must never wait for those who want it."""

_CANCEL_SECONDS = 0.1

_PLACE_SECONDS = 0.002
"""Between looks whether one that waits has its place in line, which nothing tells."""

_WAITS = "sessionbridge waits"

_NOTICES_SQL = "SET LOCAL client_min_messages = notice"

_LOCK_SQL = """
    DO $$ BEGIN
        IF NOT pg_try_advisory_xact_lock({number}) THEN
            -- sent at once, by one who gets in line after it
            RAISE NOTICE '{waits}' USING DETAIL = pg_backend_pid();
            PERFORM pg_advisory_xact_lock({number});
        END IF;
    END $$
"""

_IN_LINE_SQL = """
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = %s AND NOT granted
"""


class PostgresLocks(Locks):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._lines: WeakValueDictionary[str, _Line] = WeakValueDictionary()
        self._waiting = ThreadPoolExecutor(_WAITING, thread_name_prefix="sessionbridge-locks")
        self._brief = ThreadPoolExecutor(_BRIEF, thread_name_prefix="sessionbridge-held")

    @asynccontextmanager
    async def hold(self, name: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        line = self._lines.setdefault(name, _Line())
        async with AsyncExitStack() as ends:
            async with line.arrival:
                asked = _Asked(self._server, [name], self._waiting)
                await ends.enter_async_context(self._left(asked))
                await self._in_line(asked)
            if asked.waits or line.turn.locked():
                on_wait()
            async with self._had(asked) as connection, line.turn:
                self._server.held[name] = connection
                try:
                    yield
                finally:
                    self._server.held.pop(name, None)

    @asynccontextmanager
    async def hold_all(self, names: Iterable[str]) -> AsyncIterator[None]:
        """In one transaction, in which nothing is committed: a conversation may have more sessions
        than there are connections."""
        asked = _Asked(self._server, list(names), self._waiting)
        async with self._left(asked), self._had(asked):
            yield

    @asynccontextmanager
    async def _left(self, asked: _Asked) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # Shielded: cancelled once more, it would stay in line, or never be given back.
            await asyncio.shield(self._leave(asked))

    async def _in_line(self, asked: _Asked) -> None:
        """A server that is busy gets somebody in line long after it has told of the wait, and who
        asks meanwhile would be before them."""
        await asked.told.wait()
        while asked.waits and not asked.answer.done():
            if await asyncio.to_thread(asked.is_in_line):
                return
            await asyncio.sleep(_PLACE_SECONDS)

    @asynccontextmanager
    async def _had(self, asked: _Asked) -> AsyncIterator[Connection]:
        """While it shows that it lives."""
        connection = await asked.had()
        beating = asyncio.create_task(self._beat(connection))
        try:
            yield connection
        finally:
            beating.cancel()

    async def _leave(self, asked: _Asked) -> None:
        """Also where it still waits. What a server has not begun with cannot be cancelled yet, and
        what it does not hear of is given up."""
        asked.drop()
        try:
            async with asyncio.timeout(connections.BRIEF):
                while not asked.answer.done():
                    await self._briefly(asked.cancel)
                    await asyncio.wait([asked.answer], timeout=_CANCEL_SECONDS)
        except TimeoutError:
            # A thread that is still cancelling is not to meet what others ask on this connection.
            asked.cut()
            await asyncio.wait([asked.answer])
        if not asked.answer.cancelled():
            asked.answer.exception()  # told to whoever still waits
        await self._briefly(asked.give_back)

    async def _beat(self, connection: Connection) -> None:
        """Until it is lost, which the commit finds out."""

        use = self._server.use_of(connection)

        def beat() -> None:
            if use.acquire(blocking=False):  # who commits shows as well that we live
                try:
                    connection.execute("SELECT 1")
                finally:
                    use.release()

        with suppress(psycopg.Error):
            while True:
                await asyncio.sleep(self._server.silence / 3)
                await self._briefly(beat)

    def _briefly(self, work: Callable[[], None]) -> asyncio.Future[None]:
        return asyncio.get_running_loop().run_in_executor(self._brief, work)


class _Line:
    """Those of this node that want the same lock: one at a time gets in line for it, so that they
    have it in the order in which they came, and one has it."""

    def __init__(self) -> None:
        self.arrival = asyncio.Lock()
        self.turn = asyncio.Lock()


class _Asked:
    """For locks, one after another, on a thread and a connection of its own. `waits` says whether
    others are before it, once it was `told`; `answer` is done when all are had, or will not be.
    """

    def __init__(self, server: Server, names: Sequence[str], threads: ThreadPoolExecutor) -> None:
        self._server = server
        self._numbers = [_number(name) for name in names]
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._is_unwanted = False
        self._waiting_pid = 0
        self.told = asyncio.Event()
        self._work: Future[None] = threads.submit(self._ask)
        self.answer = asyncio.wrap_future(self._work)
        self.answer.add_done_callback(lambda _: self.told.set())

    @property
    def waits(self) -> bool:
        return bool(self._waiting_pid)

    async def had(self) -> Connection:
        """Raises `StoreUnavailable`, also where the server does not answer any more."""
        while not (await asyncio.wait([self.answer], timeout=self._server.silence))[0]:
            await asyncio.to_thread(PostgresDatabase(self._server, self._server.silence).check)
        self.answer.result()
        assert self._connection is not None
        return self._connection

    def _ask(self) -> None:
        connection = self._connection = self._server.take_for_lock()
        if self._is_unwanted:
            return
        connection.add_notice_handler(self._heard)
        try:
            locks = [_LOCK_SQL.format(number=one, waits=_WAITS) for one in self._numbers]
            self._server.begin(connection, None, then=";".join([_NOTICES_SQL, *locks]))
        except psycopg.Error as error:
            raise self._server.unavailable(error) from error
        finally:
            connection.remove_notice_handler(self._heard)

    def _heard(self, notice: Diagnostic) -> None:
        if notice.message_primary == _WAITS and self._connection is not None:
            self._connection.wait_without_end()
            self._waiting_pid = int(notice.message_detail or 0)
            self._loop.call_soon_threadsafe(self.told.set)

    def is_in_line(self) -> bool:
        """Also where nobody can tell: whoever waits for the lock finds out."""
        try:
            with self._server.question(connections.BRIEF) as connection:
                connection.patience = connections.BRIEF
                return bool(connection.execute(_IN_LINE_SQL, [self._waiting_pid]).rowcount)
        except (psycopg.Error, StoreUnavailable):
            return True

    def drop(self) -> None:
        """What is not asked yet will not be."""
        self._is_unwanted = True
        self._work.cancel()

    def cancel(self) -> None:
        """What is asked, once it was dropped. To be tried again until there is an answer."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=5)

    def cut(self) -> None:
        if self._connection is not None:
            self._connection.cut()

    def give_back(self) -> None:
        if self._connection is not None:
            self._server.give_back(self._connection)


def _number(name: str) -> int:
    digest = sha256(name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], signed=True)
