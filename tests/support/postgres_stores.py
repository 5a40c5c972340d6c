"""Stores of nodes that share a PostgreSQL, and what stands between them and it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg

from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.postgres.database import PostgresDatabase
from sessionbridge.sessions.store.postgres.locks import PostgresLocks
from sessionbridge.sessions.store.postgres.server import SILENCE, Server
from sessionbridge.sessions.store.shared_files import SharedFiles
from sessionbridge.sessions.store.store import SessionStore

REFUSES_DELETES = """
CREATE FUNCTION sessionbridge.refuse_deletes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER is_full BEFORE DELETE ON sessionbridge.files
    EXECUTE FUNCTION sessionbridge.refuse_deletes();
"""
"""From then on no files of nodes can be forgotten, as where there is no room for the log."""


@dataclass(frozen=True, slots=True)
class NodeStore:
    server: Server
    engine: PostgresDatabase
    store: SessionStore
    locks: PostgresLocks


@contextmanager
def node_store(
    url: str, *, silence: float = SILENCE, folder: Path | None = None
) -> Iterator[NodeStore]:
    server = Server(url, silence)
    try:
        server.open()
        engine = PostgresDatabase(server)
        files = SharedFiles(folder) if folder else None
        store = SessionStore(engine, server.clock, files=files)
        yield NodeStore(server, engine, store, PostgresLocks(server))
    finally:
        server.close()


def asked(url: str, sql: Any, *params: Any) -> list[Any]:
    """By somebody else, in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, params)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def busy(node: NodeStore, key: SessionKey) -> Iterator[None]:
    """With a transaction of that node's that is alone with the key."""
    begun, ended = threading.Event(), threading.Event()

    def work(db: Database) -> None:
        db.alone(key)
        list(db.query("SELECT 1", {}))
        begun.set()
        ended.wait()

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(node.engine.write, work)
        begun.wait()
        try:
            yield
        finally:
            ended.set()
            working.result()


Moment = Literal["sent", "done", "silent"]


class Relay:
    """Between a node and PostgreSQL. Once it is told to, it cuts the connection on which the next
    COMMIT comes: before PostgreSQL has it, or when it is done and its answer on the way. Or it
    keeps that and what follows to itself and stays silent."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._server = address.hostname or "", address.port or 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        netloc = f"{address.username}:{address.password}@127.0.0.1:{port}"
        self.url = address._replace(netloc=netloc).geturl()
        self.cut: Moment | None = None
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in (self._listener, *self._ends):
            _shut(end)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._ends += [client, server]
                for work in (self._asks, self._answers):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _asks(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut and b"COMMIT\0" in data:
                    moment, self.cut = self.cut, None
                    if moment == "silent":
                        while client.recv(65536):
                            pass  # the end of its pipeline would be answered
                    elif moment == "done":
                        client.shutdown(socket.SHUT_WR)  # it hears nothing more
                        server.sendall(data)
                        continue
                    break
                server.sendall(data)
        _shut(client)
        _shut(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _shut(client)
        _shut(server)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def relay(url: str) -> Iterator[Relay]:
    made = Relay(url)
    try:
        yield made
    finally:
        made.close()
