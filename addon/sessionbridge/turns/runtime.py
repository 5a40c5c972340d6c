"""What stands behind the loopback server under the options in force: the store, the processes, and
the bridge.

What the new options leave as it was is kept, because turns are under way that still need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from typing import Any

from sessionbridge.claude import work_dirs
from sessionbridge.claude.catalog import Model
from sessionbridge.claude.cli.child_mark import CHILD_HEADER, is_child_secret
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep, told_nobody
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.config import PROVIDER, Settings
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.places import Place, place_of
from sessionbridge.sessions.store.reachability import Reachability
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.conversations import Conversations
from sessionbridge.stored.kept_conversations import KeptConversations
from sessionbridge.stored.responses import Responses
from sessionbridge.stored.seals import Seals
from sessionbridge.turns.admission import Admission
from sessionbridge.turns.background import Background
from sessionbridge.turns.bridge import Bridge
from sessionbridge.turns.holders import Holders
from sessionbridge.turns.node_messages import NodeMessages
from sessionbridge.turns.passing_on import PassingOn
from sessionbridge.turns.worker import Worker

_ENDING_SECONDS = 5.0
"""For what is being read or written when the proxy ends."""


class Runtime:
    """`store` is None until the first options, and where the session map is switched off. `reports`
    is the same file on a thread of its own, so that no turn waits for a person's question."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.background = Background()
        self.store: StoreThread | None = None
        self.reports: StoreThread | None = None
        self.reachability: Reachability | None = None
        self.dispatcher: ClaudeDispatcher | None = None
        self.admission: Admission | None = None
        self.locks: Locks | None = None
        self.passing_on: PassingOn | None = None
        self._holders: Holders | None = None
        self._among: tuple[StoreThread | None, str] | None = None
        self._runs = False
        self._kept_conversations: KeptConversations | None = None
        self._home: Path | None = None
        self._where: tuple[Path, str] | None = None
        self._place: Place | None = None
        self._beside: Path | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def bridge(self, settings: Settings) -> Bridge:
        """The bridge under these settings."""
        self._home = settings.home
        place = self._found(settings)
        profile = ClaudeProfile(
            home=settings.home,
            cli=settings.claude,
            extra=settings.claude_env,
            retries=settings.retries,
            common=partial(place.common, work_dirs.NAME) if place.is_shared else None,
        )
        self._open_store(place, settings, profile)
        self._open_holders(place, settings)
        self._open_dispatcher(place, settings, profile)
        self.admission = Admission(settings.concurrency, settings.queue)
        assert self.dispatcher is not None
        assert self.locks is not None
        stands = self.store, self.dispatcher, self.locks, self.admission, self.worker
        beside = self.background, self._kept_conversations, self.passing_on
        return Bridge(settings, *stands, *beside)

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
        if self._holders is not None:
            self._holders.start()

    async def finish(self) -> None:
        """Ends the processes that wait for a turn."""
        await self.worker.end()
        if self.dispatcher is not None:
            await self.dispatcher.close()
        if self._holders is not None and self.passing_on is not None:
            await self._holders.close()
            await self.passing_on.close()

    def close(self) -> None:
        """Ends all there is, now."""
        self.worker.close()
        if self.dispatcher is not None:
            self.dispatcher.kill()
            self.dispatcher = None
        if self._holders is not None:
            self._holders.stop()
        self._close_place()

    def _found(self, settings: Settings) -> Place:
        where = settings.home, settings.store
        if self._place is None or self._where != where:
            made = place_of(*where)  # or else all stays as it is
            self._close_place()
            self._where, self._place = where, made
            self.locks = self._place.locks()
        return self._place

    def _open_store(self, place: Place, settings: Settings, profile: ClaudeProfile) -> None:
        beside = profile.config_dir if settings.mapper else None
        if self._beside == beside:
            return
        self._close_store()
        self._beside = beside
        if beside is not None:
            self.store = StoreThread(place, lambda: profile.transcripts)
            self.reports = StoreThread(place, lambda: profile.transcripts)
            self.reachability = Reachability(place)
            self._kept_conversations = KeptConversations(
                self.store, lambda: profile.transcripts, PROVIDER, Seals(settings.home, self.store)
            )

    def _close_place(self) -> None:
        """What has begun may still be done, but a server that does not answer is not waited for."""
        threads = [thread for thread in (self.store, self.reports) if thread is not None]
        wait({answer for thread in threads for answer in thread.begun}, timeout=_ENDING_SECONDS)
        if self._place is not None:
            self._place.close()
            self._place = None
        self._close_store()

    def _close_store(self) -> None:
        for thread in (self.store, self.reports):
            if thread is not None:
                thread.close()
        if self.reachability is not None:
            self.reachability.close()
        self.store = self.reports = self.reachability = None
        self._kept_conversations = self._beside = None

    def _open_dispatcher(self, place: Place, settings: Settings, profile: ClaudeProfile) -> None:
        keep = Keep(settings.live, settings.spare, settings.idle, settings.tool_wait)
        shared = self.store if place.is_shared else None
        waits = self._holders.changed if self._holders else told_nobody
        made = ClaudeDispatcher(profile, keep, shared=shared, waits=waits)
        before, self.dispatcher = self.dispatcher, made
        if self._runs:
            self.dispatcher.start()
        if before is not None:
            # Its processes that wait were started under other options.
            self._end(before.close())

    def _open_holders(self, place: Place, settings: Settings) -> None:
        channel = place.channel() if settings.node and self.store is not None else None
        known = (self.store, settings.node) if channel is not None else None
        if self._among == known:
            return
        if self._holders is not None and self.passing_on is not None:
            self._end(self._holders.close())
            self._end(self.passing_on.close())  # turns may be under way through it
        self._among, self._holders, self.passing_on = known, None, None
        if channel is not None and self.store is not None:
            self._holders = Holders(channel, settings.node, self._taken)
            messages = NodeMessages(self.store, channel.clock, settings.node)
            self.passing_on = PassingOn(self._holders, messages)
            if self._runs:
                self._holders.start()

    def _taken(self, session: str) -> None:
        if self.dispatcher is not None:
            self._end(self.dispatcher.leave(session))

    def _end(self, work: Coroutine[Any, Any, None]) -> None:
        ending = asyncio.create_task(work)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
