"""The connections of this node to PostgreSQL: one pool for questions, one for the locks of turns.

Whatever the session of a connection would hold is set within each transaction, so that a PgBouncer
may pool these; one that pools statements cannot be used. PostgreSQL 14 or later.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.postgres import connections, migrations, problems
from sessionbridge.sessions.store.postgres.connections import Connection, ListeningConnection
from sessionbridge.sessions.store.postgres.dialect import dialect
from sessionbridge.sessions.store.postgres.health import ServerHealth, examine

SILENCE = 30.0
"""Seconds after which the server ends a transaction of a node that says nothing: it is frozen, or
its machine is gone."""

_QUESTIONS = 12
_LOCKS = 100
"""Connections at most. As many turns as are committed at the same time leave some of the former.
Each turn that runs or waits in a conversation has one of the latter."""

_RETRY_SECONDS = 1.0
"""After which a server that was away is looked for again; a pool's own patience doubles."""

_OLDEST = 140_000

_ALIVE: dict[str, Any] = {
    "fallback_application_name": "sessionbridge",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def _how(url: str) -> dict[str, Any]:
    """Of several servers libpq takes the first that lets it in, also one that only repeats what
    another is told (https://www.postgresql.org/docs/current/libpq-connect.html): there locks would
    be nobody else's."""
    named = conninfo_to_dict(url)
    hosts = (
        named.get(name) or os.environ.get(f"PG{name.upper()}") for name in ("host", "hostaddr")
    )
    chosen = named.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")
    several = any("," in str(host) for host in hosts)
    return {**_ALIVE, "target_session_attrs": "read-write"} if several and not chosen else _ALIVE


class Server:
    """Opened with the first question. `held` are the connections that hold the locks of turns, by
    the names of these."""

    def __init__(self, url: str, silence: float = SILENCE) -> None:
        self.name = problems.shown(url)
        self.silence = silence
        self.held: dict[str, Connection] = {}
        self._url = url
        self._how = _how(url)
        self.dialect = dialect()
        self._opening = Lock()
        self._pools: dict[int, ConnectionPool[Connection]] = {}
        self._threshold: int | None = None
        self._began = 0.0
        self._refusal: tuple[float, psycopg.Error | None] = 0.0, None
        """When it was found out last why there is no connection, and why."""
        self._lent: set[Connection] = set()
        self._uses: WeakKeyDictionary[Connection, Lock] = WeakKeyDictionary()
        self._closed = False

    @property
    def is_pooled(self) -> bool:
        """Whether a PgBouncer is in front of it. To be asked for once it is open."""
        return self._threshold is None

    def clock(self) -> float:
        """Epoch seconds by the server's clock, which is the same for all nodes, however this one's
        is set meanwhile."""
        return self._began + time.monotonic()

    def close(self) -> None:
        """Whoever waits for an answer is told, also where the server says nothing more."""
        self._closed = True
        atexit.unregister(self.close)
        for connection in list(self._lent):
            connection.cut()
        for pool in self._pools.values():
            pool.close()

    def open(self, patience: float = PATIENCE) -> None:
        """Waits for a server that cannot be reached. Raises `StoreUnavailable`."""
        deadline = time.monotonic() + patience
        if self._pools and not self._closed:
            return
        if not self._opening.acquire(timeout=max(0.0, patience)):
            raise StoreUnavailable(
                f"The session database {self.name} is still being waited for; try again.",
                retry_after=5,
            )
        try:
            if self._closed:
                raise self._is_closed()
            if not self._pools:
                self._prepare(deadline)
                if self._closed:
                    raise self._is_closed()
                self._pools = {most: self._pool(most) for most in (_QUESTIONS, _LOCKS)}
                # Where nobody closes them, pools hold up the end of a process by up to 40 s
                # (measured with psycopg-pool 3.3).
                atexit.register(self.close)
        finally:
            self._opening.release()

    def unavailable(self, error: psycopg.Error) -> StoreUnavailable:
        """Raises the error itself where it is a fault of ours."""
        return self._is_closed() if self._closed else problems.unavailable(self.name, error)

    def _is_closed(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"The session database {self.name} has been closed, because the proxy stops or its "
            "options were changed; try again.",
            retry_after=1,
        )

    def is_made(self) -> bool:
        """Whether it has been opened by anybody yet. Raises `StoreUnavailable`."""
        try:
            with self._connected() as connection:
                return migrations.is_begun(connection)
        except psycopg.Error as error:
            raise self.unavailable(error) from error

    def examine(self) -> ServerHealth:
        """Waits for none, and changes nothing. Raises `StoreUnavailable`."""
        try:
            with self._connected() as connection:
                self._look_at(connection)
                connection.patience = PATIENCE
                return examine(connection, is_pooled=self.is_pooled)
        except psycopg.Error as error:
            raise self.unavailable(error) from error

    def _prepare(self, deadline: float) -> None:
        while True:
            try:
                with self._connected() as connection:
                    self._look_at(connection)
                    connection.patience = migrations.PATIENCE
                    with connection.transaction():
                        connection.execute(f"SET LOCAL search_path = {migrations.SCHEMA}")
                        migrations.migrate(connection, self.name)
                return
            except psycopg.Error as error:
                hopeless = problems.is_refused(error) or not problems.is_loss(error)
                if hopeless or self._closed or time.monotonic() >= deadline:
                    raise self.unavailable(error) from error
                time.sleep(0.2)  # nothing tells when a server is there

    def _look_at(self, connection: Connection) -> None:
        if connection.info.server_version < _OLDEST:
            raise StoreUnavailable(
                f"The session database {self.name} is on PostgreSQL "
                f"{connection.info.server_version // 10_000}; 14 is the oldest that can be used."
            )
        found = connection.execute(
            "SELECT pg_backend_pid() AS pid, current_setting('server_encoding') AS encoding"
        ).fetchone()
        assert found is not None
        if found["encoding"] != "UTF8":
            raise StoreUnavailable(
                f"The session database {self.name} has the encoding {found['encoding']}; create "
                "one with UTF8."
            )
        # A PgBouncer tells another number than the server behind it, and one before 1.21 cannot
        # have statements prepared.
        self._threshold = 5 if found["pid"] == connection.info.backend_pid else None

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        connecting = Connection.connect(
            self._url, autocommit=True, row_factory=dict_row, **self._how
        )
        with connecting as connection:
            self._lent.add(connection)
            try:
                yield connection
            finally:
                self._lent.discard(connection)

    async def listening(self) -> ListeningConnection:
        """One for itself. Raises `psycopg.Error`."""
        return await ListeningConnection.connect(self._url, autocommit=True, **self._how)

    def _pool(self, most: int) -> ConnectionPool[Connection]:
        return ConnectionPool(
            self._url,
            connection_class=Connection,
            kwargs={"autocommit": True, "row_factory": dict_row, **self._how},
            min_size=1,
            max_size=most,
            max_idle=60,
            configure=self._configure,
            # A question that finds a dead one is asked again, which a lock cannot be.
            check=self._check if most == _LOCKS else None,
            reconnect_timeout=_RETRY_SECONDS,
            name=f"sessionbridge-{most}",
            open=True,
        )

    def _configure(self, connection: Connection) -> None:
        connection.prepare_threshold = self._threshold
        told = connection.execute(
            "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now"
        ).fetchone()
        assert told is not None
        self._began = told["now"] - time.monotonic()

    def _check(self, connection: Connection) -> None:
        connection.patience = connections.BRIEF
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.Error:
            self.renew()
            raise

    def renew(self) -> None:
        """After a restart of the server no connection is of use; one by one, a pool finds that out
        in a second for each."""
        for pool in self._pools.values():
            pool.drain()

    @contextmanager
    def question(self, patience: float) -> Iterator[Connection]:
        connection = self._taken(_QUESTIONS, patience)
        try:
            yield connection
        finally:
            self._return(_QUESTIONS, connection)

    def take_for_lock(self, patience: float = PATIENCE) -> Connection:
        """To be given back with `give_back`. Raises `StoreUnavailable`."""
        connection = self._taken(_LOCKS, patience)
        self._uses.setdefault(connection, Lock())
        return connection

    def use_of(self, connection: Connection) -> Lock:
        """To be had by whoever uses a connection that holds a lock. psycopg's own lock lets another
        thread's statement in between where a pipeline begins and ends."""
        return self._uses[connection]

    def give_back(self, connection: Connection) -> None:
        """Ends its transaction, if it has one."""
        connection.patience = connections.BRIEF
        with suppress(psycopg.Error):
            connection.rollback()
        self._return(_LOCKS, connection)

    def _return(self, most: int, connection: Connection) -> None:
        self._lent.discard(connection)
        if connection.is_cut:
            connection.close()
        self._pools[most].putconn(connection)

    def _taken(self, most: int, patience: float) -> Connection:
        deadline = time.monotonic() + patience
        self.open(patience)
        while True:
            left = deadline - time.monotonic()
            try:
                connection = self._pools[most].getconn(timeout=min(max(left, 0.1), _RETRY_SECONDS))
                self._lent.add(connection)
                self._refusal = 0.0, None
                if self._closed:  # meanwhile
                    connection.cut()
                return connection
            except psycopg.Error as error:
                if not isinstance(error, PoolTimeout) or left <= _RETRY_SECONDS:
                    raise self._why(error) from error

    def begin(
        self,
        connection: Connection,
        patience: float | None,
        *,
        reading: bool = False,
        then: str = "",
    ) -> None:
        """In one message, or in the pipeline that there is: each would take as long as a question.
        Without `patience` (seconds) the server takes as long as it needs. `then` is SQL that has no
        parameters."""
        timeout = 0 if patience is None else milliseconds(patience)
        connection.patience = (PATIENCE if patience is None else patience) + connections.BRIEF
        silence = milliseconds(self.silence)
        # Whatever the role or the database is told to do otherwise.
        mode = "REPEATABLE READ READ ONLY" if reading else "READ COMMITTED"
        begun = f"BEGIN ISOLATION LEVEL {mode}"
        told = (
            f"SELECT set_config('search_path', '{migrations.SCHEMA}', true),"
            f" set_config('statement_timeout', '{timeout}', true),"
            " set_config('lock_timeout', '0', true),"
            f" set_config('idle_in_transaction_session_timeout', '{silence}', true)"
        )
        if connection.info.pipeline_status:
            connection.execute(begun)
            connection.execute(told)
        else:
            connection.execute(f"{begun};{told};{then}")

    def _why(self, error: psycopg.Error) -> StoreUnavailable:
        """A pool does not tell why it has no connection. Who has waited in line while another found
        out is told the same: a server that lets nobody in costs each who asks seconds."""
        if not isinstance(error, PoolTimeout):
            return self.unavailable(error)
        found_at, reason = self._refusal
        if reason is None or time.monotonic() - found_at >= connections.BRIEF:
            reason = self._refused()
            self._refusal = time.monotonic(), reason
        return self.unavailable(reason or error)

    def _refused(self) -> psycopg.Error | None:
        """A proxy before a server lets everybody in, whatever becomes of what they ask."""
        try:
            with self._connected() as connection:
                connection.execute("SELECT 1")
                return None
        except psycopg.Error as error:
            return error


def milliseconds(seconds: float) -> int:
    """As a timeout, where 0 is none."""
    return max(1, round(seconds * 1000))
