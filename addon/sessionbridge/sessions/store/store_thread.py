"""The store on a thread of its own: a commit to disk must never hold up other streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.store import SessionStore


def _asked[**P, T](
    question: Callable[Concatenate[SessionStore, P], T],
) -> Callable[Concatenate[StoreThread, P], Coroutine[Any, Any, T]]:
    """The same question, to the store on its thread."""

    @wraps(question)
    async def ask(thread: StoreThread, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await thread.ask(lambda store: question(store, *args, **kwargs))

    return ask


class StoreThread:
    """The few questions the bridge asks of the store. Opened when it is first needed, so that a
    bridge nobody uses makes no file. Raises `StoreUnavailable` where the store does, and once it
    has been closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store: SessionStore | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sessionbridge-store")

    lineage = _asked(SessionStore.lineage)
    last_ended = _asked(SessionStore.last_ended)
    response = _asked(SessionStore.response)
    caller = _asked(SessionStore.caller)
    commit = _asked(SessionStore.commit)
    count_unkept = _asked(SessionStore.count_unkept)
    note = _asked(SessionStore.set)
    forget_session = _asked(SessionStore.forget_session)
    replaced_import = _asked(SessionStore.replaced_import)

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
