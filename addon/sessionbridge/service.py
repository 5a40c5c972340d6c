"""What stands behind the gateway under the options in force: the store, the processes, the bridge.

What the new options leave as it was is kept, because turns are under way that still need it.
"""

from __future__ import annotations

import asyncio
import secrets

from sessionbridge.admission import Admission
from sessionbridge.bridge import Bridge
from sessionbridge.claude.dispatcher import ClaudeDispatcher, Keep
from sessionbridge.claude.launcher import ClaudeProfile
from sessionbridge.config import Settings
from sessionbridge.sessions.locks import Locks
from sessionbridge.sessions.store_thread import StoreThread


class Service:
    """`store` is None until the first options, and where the session map is switched off. `reports`
    is the same file on a thread of its own, so that no turn waits for a person's question. `secret`
    is what the CLIs that are started show when they call the API through this proxy."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(24)
        self.store: StoreThread | None = None
        self.reports: StoreThread | None = None
        self.dispatcher: ClaudeDispatcher | None = None
        self.admission: Admission | None = None
        self.locks: Locks | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def bridge(self, settings: Settings) -> Bridge:
        """The bridge under these settings."""
        self._open_store(settings)
        self._open_dispatcher(settings)
        if self.locks is None or self.locks.folder != settings.locks:
            self.locks = Locks(settings.locks)
        self.admission = Admission(settings.concurrency, settings.queue)
        assert self.dispatcher is not None
        return Bridge(settings, self.store, self.dispatcher, self.locks, self.admission)

    async def finish(self) -> None:
        """Ends the processes that wait for a turn."""
        if self.dispatcher is not None:
            await self.dispatcher.close()

    def close(self) -> None:
        """Ends all there is, now."""
        if self.dispatcher is not None:
            self.dispatcher.kill()
            self.dispatcher = None
        self._close_store()

    def _open_store(self, settings: Settings) -> None:
        path = settings.database if settings.mapper else None
        if self.store is not None and self.store.path != path:
            self._close_store()
        if self.store is None and path is not None:
            self.store, self.reports = StoreThread(path), StoreThread(path)

    def _close_store(self) -> None:
        for thread in (self.store, self.reports):
            if thread is not None:
                thread.close()
        self.store = self.reports = None

    def _open_dispatcher(self, settings: Settings) -> None:
        profile = ClaudeProfile(
            home=settings.home,
            cli=settings.claude,
            extra=settings.claude_env,
            retries=settings.retries,
            secret=self.secret,
        )
        keep = Keep(settings.live, settings.spare, settings.idle, settings.tool_wait)
        before, self.dispatcher = self.dispatcher, ClaudeDispatcher(profile, keep)
        if before is not None:
            # Its processes that wait were started under other options.
            ending = asyncio.create_task(before.close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
