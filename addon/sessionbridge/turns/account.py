"""What answers for one provider: its store, its processes, and the bridge to them.

What the options before have left as it is now is taken over, because turns are under way that still
need it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sessionbridge.claude import work_dirs
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.config import Settings
from sessionbridge.sessions.store.places import Place
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.kept_conversations import KeptConversations
from sessionbridge.stored.seals import Seals
from sessionbridge.turns.admission import Admission
from sessionbridge.turns.bridge import Bridge


def profile(settings: Settings, place: Place) -> ClaudeProfile:
    """Of the provider that these settings are for."""
    inherited = dict(os.environ)
    return ClaudeProfile(
        home=settings.home,
        cli=settings.claude,
        extra=settings.environment(inherited),
        retries=settings.retries,
        inherited=inherited,
        common=partial(place.common, work_dirs.NAME) if place.is_shared else None,
        provider=settings.provider,
    )


class Account:
    """Under the settings of its provider. `store` is None where the session map is switched off;
    `others` tells the folders of the other providers' transcripts, `waits` is told in which
    sessions a process waits. `bridge` is made once all that it needs is there."""

    bridge: Bridge

    def __init__(
        self,
        settings: Settings,
        place: Place,
        others: Callable[[], Sequence[Path]],
        waits: Callable[[str, bool], None],
        before: Account | None,
    ) -> None:
        claude = profile(settings, place)
        self._has_left = False
        self.settings = settings
        self.store: StoreThread | None = None
        self.conversations: KeptConversations | None = None
        self._beside = claude.config_dir if settings.mapper else None
        if before is not None and before._beside == self._beside and not before._has_left:
            self.store, self.conversations = before.store, before.conversations
        elif self._beside is not None:
            self.store = StoreThread(place, lambda: claude.transcripts, others)
            seals = Seals(settings.home, self.store)
            self.conversations = KeptConversations(
                self.store, lambda: claude.transcripts, settings.provider, seals
            )
        keep = Keep(settings.live, settings.spare, settings.idle, settings.tool_wait)
        shared = self.store if place.is_shared else None
        self.dispatcher = ClaudeDispatcher(claude, keep, shared=shared, waits=waits)
        self.admission = Admission(settings.concurrency, settings.queue)
        if before is not None and before.store is not self.store:
            before.leave_store()

    def leave_store(self) -> None:
        """Turns under way are kept in it yet."""
        self._has_left = True
        if self.store is not None:
            self.store.leave()

    def close_store(self) -> None:
        self._has_left = True
        if self.store is not None:
            self.store.close()
