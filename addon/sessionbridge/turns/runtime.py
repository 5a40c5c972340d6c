"""What stands behind the loopback server under the options in force: the stores, the processes, and
whoever walks through them.

What the new options leave as it was is kept, because turns are under way that still need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

from sessionbridge.claude.catalog import Model
from sessionbridge.claude.cli.child_mark import CHILD_HEADER, is_child_secret
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.config import Settings
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.places import Place, place_of
from sessionbridge.sessions.store.reachability import Reachability
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.conversations import Conversations
from sessionbridge.stored.responses import Responses
from sessionbridge.turns.account import Account, profile
from sessionbridge.turns.background import Background
from sessionbridge.turns.bridge import Bridge
from sessionbridge.turns.exchange import Exchange, Walk
from sessionbridge.turns.holders import Holders
from sessionbridge.turns.node_messages import NodeMessages
from sessionbridge.turns.passing_on import PassingOn
from sessionbridge.turns.providers import Providers, chosen, holder
from sessionbridge.turns.worker import Worker

_ENDING_SECONDS = 5.0
"""For what is being read or written when the proxy ends."""


class Runtime:
    """`accounts` are those of the providers that have been asked so far, by name, the default among
    them. `reports` is their store on a thread of its own, so that no turn waits for a person's
    question; None until the first options, and where the session map is switched off."""

    def __init__(self) -> None:
        self.worker = Worker()
        self.background = Background()
        self.accounts: dict[str, Account] = {}
        self.reports: StoreThread | None = None
        self.reachability: Reachability | None = None
        self.locks: Locks | None = None
        self.passing_on: PassingOn | None = None
        self._settings: Settings | None = None
        self._holders: Holders | None = None
        self._among: tuple[StoreThread | None, str] | None = None
        self._runs = False
        self._where: tuple[Path, str] | None = None
        self._place: Place | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def walk(self, settings: Settings) -> Walk:
        """The one under these settings."""
        place = self._found(settings)
        self._settings = settings
        self._open_reports(place, settings)
        before, self.accounts = self.accounts, {}
        for name in {settings.default_provider, *before}:
            if name in settings.providers:
                self.accounts[name] = self._account(name, before.get(name))
            else:
                before[name].leave_store()
        for account in before.values():
            # Its processes that wait were started under other options.
            self._end(account.dispatcher.close())
        self._open_holders(place, settings)
        for account in self.accounts.values():
            self._begin(account)
        return Providers(settings, self._bridge, self.store)

    def _bridge(self, provider: str) -> Bridge | None:
        """None for one that is not there any more: options change while requests are under way."""
        assert self._settings is not None
        known = provider in self._settings.providers
        return self.account(provider).bridge if known else None

    def account(self, name: str) -> Account:
        """That of a provider there is. To be asked for only once there is a walk."""
        if name not in self.accounts:
            self.accounts[name] = self._account(name, None)
            self._begin(self.accounts[name])
        return self.accounts[name]

    @property
    def default(self) -> Account:
        assert self._settings is not None
        return self.accounts[self._settings.default_provider]

    @property
    def store(self) -> StoreThread | None:
        """The default provider's."""
        return self.default.store if self.accounts else None

    def _account(self, name: str, before: Account | None) -> Account:
        settings, place = self._settings, self._place
        assert settings is not None
        assert place is not None
        others = self._transcripts(name)[1]
        return Account(settings.of(name), place, others, self._waits, before)

    def _transcripts(self, name: str) -> tuple[Callable[[], Path], Callable[[], Sequence[Path]]]:
        """Tell the folder of a provider's, and those of all others."""
        settings, place = self._settings, self._place
        assert settings is not None
        assert place is not None

        def folder(provider: str) -> Path:
            return profile(settings.of(provider), place).transcripts

        others = [other for other in settings.providers if other != name]
        return lambda: folder(name), lambda: [folder(other) for other in others]

    def _begin(self, account: Account) -> None:
        assert self.locks is not None
        stands = account.store, account.dispatcher, self.locks, account.admission, self.worker
        beside = self.background, account.conversations, self.passing_on
        account.bridge = Bridge(
            account.settings,
            *(*stands, *beside),
            allowance=account.settings.table,
            dispatchers=self.dispatcher,
        )
        if self._runs:
            account.dispatcher.start()

    async def is_our_child(self, headers: Mapping[str, str]) -> bool:
        """Whether a request comes from a CLI that a bridge of this home started: it must reach the
        API itself. Header names are in lower case."""
        shown, settings = headers.get(CHILD_HEADER), self._settings
        if shown is None or settings is None:
            return False
        return await asyncio.to_thread(is_child_secret, shown, settings.home)

    @property
    def responses(self) -> Responses:
        """Those that were given. To be asked for only once there is a walk."""
        assert self.locks is not None
        return Responses(self.store, self.dispatcher, self.locks)

    def dispatcher(self, provider: str) -> ClaudeDispatcher | None:
        """None where there is no such provider any more."""
        assert self._settings is not None
        known = provider in self._settings.providers
        return self.account(provider).dispatcher if known else None

    def conversations(self, id_: str | None, asked: Exchange) -> Conversations | None:
        """Those that clients have created, with the provider of the one with this id, or of the one
        that is to be created as is `asked` here; None where the session map is switched off. To be
        asked for only once there is a walk. Raises as `chosen` does."""
        settings, locks = self._settings, self.locks
        assert settings is not None
        assert locks is not None
        name = chosen(asked, settings) if id_ is None else holder(id_, settings)
        account = self.account(name or settings.default_provider)
        if account.conversations is None or account.store is None:
            return None
        kept = account.conversations, account.store, account.dispatcher
        return Conversations(*kept, locks, asked.attempt.client)

    async def models(self) -> Sequence[Model]:
        """Those that the Claude CLI of the default provider offers. To be asked only once there is
        a walk."""
        return await self.default.dispatcher.models()

    def start(self) -> None:
        """Starts processes ahead of the first turn, from now on under whatever options; those of
        another provider than the default when it is first asked."""
        self._runs = True
        for account in self.accounts.values():
            account.dispatcher.start()
        if self._holders is not None:
            self._holders.start()

    async def finish(self) -> None:
        """Ends the processes that wait for a turn."""
        await self.worker.end()
        await asyncio.gather(*(one.dispatcher.close() for one in self.accounts.values()))
        if self._holders is not None and self.passing_on is not None:
            await self._holders.close()
            await self.passing_on.close()

    def close(self) -> None:
        """Ends all there is, now."""
        self.worker.close()
        if self._holders is not None:
            self._holders.stop()
        for account in self.accounts.values():
            account.dispatcher.kill()
        self._close_place()
        self.accounts = {}

    def _found(self, settings: Settings) -> Place:
        where = settings.home, settings.store
        if self._place is None or self._where != where:
            made = place_of(*where)  # or else all stays as it is
            self._close_place()
            self._where, self._place = where, made
            self.locks = self._place.locks()
        return self._place

    def _open_reports(self, place: Place, settings: Settings) -> None:
        if not settings.mapper:
            self._close_stores()
        elif self.reports is None:
            # Where they are is asked of the SDK, which takes a second to load.
            kept = self._transcripts(settings.default_provider) if place.is_shared else ()
            self.reports = StoreThread(place, *kept)
            self.reachability = Reachability(place)

    def _close_place(self) -> None:
        """What has begun may still be done, but a server that does not answer is not waited for."""
        kept = [self.reports, *(account.store for account in self.accounts.values())]
        threads = [thread for thread in kept if thread is not None]
        wait({answer for thread in threads for answer in thread.begun}, timeout=_ENDING_SECONDS)
        if self._place is not None:
            self._place.close()
            self._place = None
        self._close_stores()

    def _close_stores(self) -> None:
        for account in self.accounts.values():
            account.close_store()
        if self.reports is not None:
            self.reports.close()
        if self.reachability is not None:
            self.reachability.close()
        self.reports = self.reachability = None

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

    def _waits(self, session: str, here: bool) -> None:
        if self._holders is not None:
            self._holders.changed(session, here)

    def _taken(self, session: str) -> None:
        for account in self.accounts.values():
            self._end(account.dispatcher.leave(session))

    def _end(self, work: Coroutine[Any, Any, None]) -> None:
        ending = asyncio.create_task(work)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
