"""The store on a thread of its own: a commit to disk must never hold up other streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import Point, SessionKey
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.store.ledger import Lineage, Response, TurnRecord
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.unkept import UnkeptTurn


class StoreThread:
    """The few questions the bridge asks of the store. Opened when it is first needed, so that a
    bridge nobody uses makes no file. Raises `StoreUnavailable` where the store does, and once it
    has been closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store: SessionStore | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sessionbridge-store")

    async def lineage(
        self,
        key: SessionKey,
        hashes: Sequence[str],
        *,
        tip: bool = True,
        asked_so: Manner | None = None,
        waits: bool = False,
    ) -> Lineage:
        return await self.ask(
            lambda s: s.lineage(key, hashes, tip=tip, asked_so=asked_so, waits=waits)
        )

    async def last_ended(self, turn_id: int) -> Point | None:
        return await self.ask(lambda store: store.last_ended(turn_id))

    async def response(self, response_id: str) -> Response | None:
        return await self.ask(lambda store: store.response(response_id))

    async def commit(self, record: TurnRecord) -> int:
        return await self.ask(lambda store: store.commit(record))

    async def count_unkept(self, key: SessionKey, turn: UnkeptTurn) -> int:
        return await self.ask(lambda store: store.count_unkept(key, turn))

    async def note(self, key: SessionKey, internal_id: str, metadata: Mapping[str, Any]) -> None:
        await self.ask(lambda store: store.set(key, internal_id, metadata))

    async def forget_session(self, internal_id: str, *, unmap: bool) -> None:
        await self.ask(lambda store: store.forget_session(internal_id, unmap=unmap))

    async def replaced_import(self, key: SessionKey, turn_id: int) -> str | None:
        return await self.ask(lambda store: store.replaced_import(key, turn_id))

    async def issued(self, internal_id: str) -> bool:
        return await self.ask(lambda store: store.issued(internal_id))

    def close(self) -> None:
        """Waits for what has begun."""
        if self._closed:
            return
        self._closed = True
        self._thread.submit(self._close_store)
        self._thread.shutdown()

    async def ask[T](self, question: Callable[[SessionStore], T]) -> T:
        """Whatever else there is to be asked of the store."""
        if self._closed:
            raise StoreUnavailable(
                f"The session database {self.path} has been closed, because the proxy stops or its "
                "options were changed; try again.",
                retry_after=1,
            )
        loop = asyncio.get_running_loop()
        # Shielded: a client that leaves must not make us forget a commit that is under way.
        return await asyncio.shield(
            loop.run_in_executor(self._thread, lambda: question(self._opened()))
        )

    def _opened(self) -> SessionStore:
        if self._store is None:
            self._store = SessionStore.open(self.path)
        return self._store

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
