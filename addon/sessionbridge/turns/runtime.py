"""What stands behind the loopback server under the options in force: the store, the processes, and
the bridge.

What the new options leave as it was is kept, because turns are under way that still need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from sessionbridge.claude.catalog import Model
from sessionbridge.claude.cli.child_mark import CHILD_HEADER, is_child_secret
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.config import PROVIDER, Settings
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.places import Place, place
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.conversations import Conversations
from sessionbridge.stored.kept_conversations import KeptConversations
from sessionbridge.stored.responses import Responses
from sessionbridge.stored.seals import Seals
from sessionbridge.turns.admission import Admission
from sessionbridge.turns.background import Background
from sessionbridge.turns.bridge import Bridge
from sessionbridge.turns.worker import Worker


class Runtime:
    """`store` is None until the first options, and where the session map is switched off. `reports`
    is the same file on a thread of its own, so that no turn waits for a person's question."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.background = Background()
        self.store: StoreThread | None = None
        self.reports: StoreThread | None = None
        self.dispatcher: ClaudeDispatcher | None = None
        self.admission: Admission | None = None
        self.locks: Locks | None = None
        self._runs = False
        self._kept_conversations: KeptConversations | None = None
        self._home: Path | None = None
        self._kept_at: tuple[Path, str, Path, bool] | None = None
        self._place: Place | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def bridge(self, settings: Settings) -> Bridge:
        """The bridge under these settings."""
        self._home = settings.home
        profile = ClaudeProfile(
            home=settings.home,
            cli=settings.claude,
            extra=settings.claude_env,
            retries=settings.retries,
        )
        self._open_store(settings, profile)
        self._open_dispatcher(settings, profile)
        self.admission = Admission(settings.concurrency, settings.queue)
        assert self.dispatcher is not None
        assert self.locks is not None
        stands = self.store, self.dispatcher, self.locks, self.admission, self.worker
        return Bridge(settings, *stands, self.background, self._kept_conversations)

    async def is_our_child(self, headers: Mapping[str, str]) -> bool:
        """Whether a request comes from a CLI that a bridge of this home started: it must reach the
        API itself. Header names are in lower case."""
        shown, home = headers.get(CHILD_HEADER), self._home
        if shown is None or home is None:
            return False
        return await asyncio.to_thread(is_child_secret, shown, home)

    @property
    def responses(self) -> Responses:
        """Those that were given. To be asked for only once there is a bridge."""
        assert self.dispatcher is not None
        assert self.locks is not None
        return Responses(self.store, self.dispatcher, self.locks)

    @property
    def conversations(self) -> Conversations | None:
        """Those that clients have created; None where the session map is switched off. To be asked
        for only once there is a bridge."""
        kept, locks = self._kept_conversations, self.locks
        if kept is None or self.store is None:
            return None
        assert self.dispatcher is not None
        assert locks is not None
        return Conversations(kept, self.store, self.dispatcher, locks)

    async def models(self) -> Sequence[Model]:
        """Those that the Claude CLI offers. To be asked only once there is a bridge."""
        assert self.dispatcher is not None
        return await self.dispatcher.models()

    def start(self) -> None:
        """Starts processes ahead of the first turn, from now on under whatever options."""
        self._runs = True
        if self.dispatcher is not None:
            self.dispatcher.start()

    async def finish(self) -> None:
        """Ends the processes that wait for a turn."""
        await self.worker.end()
        if self.dispatcher is not None:
            await self.dispatcher.close()

    def close(self) -> None:
        """Ends all there is, now."""
        self.worker.close()
        if self.dispatcher is not None:
            self.dispatcher.kill()
            self.dispatcher = None
        self._close_store()

    def _open_store(self, settings: Settings, profile: ClaudeProfile) -> None:
        kept_at = settings.home, settings.store, profile.config_dir, settings.mapper
        if self._kept_at != kept_at:
            self._close_store()
            self._kept_at = kept_at
            self._place = place(settings.home, settings.store)
            self.locks = self._place.locks()
        assert self._place is not None
        if not settings.mapper or self.store is not None:
            return
        self.store = StoreThread(self._place, lambda: profile.transcripts)
        self.reports = StoreThread(self._place)
        seals = Seals(settings.home, self.store)
        self._kept_conversations = KeptConversations(
            self.store, lambda: profile.transcripts, PROVIDER, seals
        )

    def _close_store(self) -> None:
        for thread in (self.store, self.reports):
            if thread is not None:
                thread.close()
        if self._place is not None:
            self._place.close()
        self.store = self.reports = self._kept_at = self._place = self._kept_conversations = None

    def _open_dispatcher(self, settings: Settings, profile: ClaudeProfile) -> None:
        keep = Keep(settings.live, settings.spare, settings.idle, settings.tool_wait)
        shared = self.store if self._place and self._place.is_shared else None
        before, self.dispatcher = self.dispatcher, ClaudeDispatcher(profile, keep, shared=shared)
        if self._runs:
            self.dispatcher.start()
        if before is not None:
            # Its processes that wait were started under other options.
            ending = asyncio.create_task(before.close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
