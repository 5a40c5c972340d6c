"""The store on threads of its own: a commit to disk must never hold up other streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import wraps
from pathlib import Path
from threading import Thread, get_ident
from time import monotonic
from typing import Any, Concatenate, Literal
from weakref import WeakValueDictionary

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.places import Place
from sessionbridge.sessions.store.store import SessionStore

_COMMITTING = 8
"""Threads, of which each turn that is committed to a server has one."""


def _asked[**P, T](
    question: Callable[Concatenate[SessionStore, P], T],
    line: Literal["reading", "writing", "committing"],
    *,
    whole: bool = False,
) -> Callable[Concatenate[StoreThread, P], Coroutine[Any, Any, T]]:
    """The same question, to the store on its thread. What is to be done as a `whole` is waited for
    also by those who no longer want it: what comes after it is to read what it has written."""

    @wraps(question)
    async def ask(thread: StoreThread, /, *args: P.args, **kwargs: P.kwargs) -> T:
        asked: _Line = getattr(thread, line)
        return await asked.ask(lambda store: question(store, *args, **kwargs), whole=whole)

    return ask


class StoreThread:
    """The few questions the bridge asks of the store. What only reads has a thread and a connection
    of its own: it needs no lock, and waits for no write that does. Where several nodes write at the
    same time, so do several threads here: a turn whose key another node is busy with holds up no
    others. Opened when they are first needed, so that a bridge nobody uses makes no file; not
    before then is asked where the `transcripts` are, and those of `others`. Raises
    `StoreUnavailable` where the store does, and once it has been closed.
    """

    def __init__(
        self,
        place: Place,
        transcripts: Callable[[], Path] | None = None,
        others: Callable[[], Sequence[Path]] = list,
    ) -> None:
        self.place = place
        self._turns = 0
        self._is_left = False
        self._names: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

        def opened(patience: float) -> SessionStore:
            return place.store(transcripts, patience, others)

        self.reading = _Line(place, opened)
        self.writing = _Line(place, opened)
        self.committing = _Line(place, opened, _COMMITTING) if place.is_shared else self.writing

    lineage = _asked(SessionStore.lineage, "reading")
    whereabouts = _asked(SessionStore.whereabouts, "reading")
    has_others = _asked(SessionStore.has_others, "reading")
    is_known_elsewhere = _asked(SessionStore.is_known_elsewhere, "reading")
    last_ended = _asked(SessionStore.last_ended, "reading")
    response = _asked(SessionStore.response, "reading")
    ended_at = _asked(SessionStore.ended_at, "reading")
    holdings = _asked(SessionStore.holdings, "reading")
    caller = _asked(SessionStore.caller, "reading")
    commit = _asked(SessionStore.commit, "committing", whole=True)
    count_unkept = _asked(SessionStore.count_unkept, "writing")
    passed = _asked(SessionStore.passed, "writing")
    delete = _asked(SessionStore.delete, "writing", whole=True)
    forget_points = _asked(SessionStore.forget_points, "writing", whole=True)
    note = _asked(SessionStore.set, "writing", whole=True)
    forget_session = _asked(SessionStore.forget_session, "writing", whole=True)
    forget_response = _asked(SessionStore.forget_response, "writing", whole=True)
    replaced_import = _asked(SessionStore.replaced_import, "writing", whole=True)

    reserve = _asked(SessionStore.reserve, "writing")
    settle = _asked(SessionStore.settle, "writing")
    use = _asked(SessionStore.use, "reading")

    are_here = _asked(SessionStore.are_here, "reading")
    _bring_in = _asked(SessionStore.bring_in, "reading", whole=True)
    _keep_files = _asked(SessionStore.keep_files, "writing", whole=True)
    forget_files = _asked(SessionStore.forget_files, "writing", whole=True)

    keep_plan_windows = _asked(SessionStore.keep_plan_windows, "writing")
    plan_windows = _asked(SessionStore.plan_windows, "reading")

    common = _asked(SessionStore.common, "writing")

    client = _asked(SessionStore.client, "reading")
    _has_clients = _asked(SessionStore.has_clients, "reading")
    client_by_token = _asked(SessionStore.client_by_token, "reading")

    async def has_clients(self) -> bool:
        """No database is made to find that out."""
        return await asyncio.to_thread(self.place.is_made) and await self._has_clients()

    async def bring_in(self, name: str) -> None:
        """What other nodes have added to the files of that name. No process may work with them."""
        async with self._alone_with(name):
            if not await self.are_here(name):
                await self._bring_in(name)

    async def fetch(self, name: str) -> None:
        """The same of files that no process works with."""
        if self.place.is_shared:
            await self.bring_in(name)

    @asynccontextmanager
    async def changing(self, name: str, under: str | None = None) -> AsyncIterator[None]:
        """What is done to the files of that name is kept for other nodes, without a turn. `under`
        is the lock that this needs, and which ends with it."""
        if not self.place.is_shared:
            yield
            return
        async with self._alone_with(name):  # or who asks for them would take it for a stale state
            yield
            await self._keep_files(name, under)

    def _alone_with(self, name: str) -> asyncio.Lock:
        return self._names.setdefault(name, asyncio.Lock())

    async def ask[T](self, question: Callable[[SessionStore], T]) -> T:
        """Whatever else is to be read."""
        return await self.reading.ask(question)

    @property
    def begun(self) -> set[Future[Any]]:
        """What has been asked and is not answered yet. Each line's in one step: its threads take
        away what they have answered."""
        return set[Future[Any]]().union(*(line.begun for line in self._lines))

    @contextmanager
    def during_turn(self) -> Iterator[None]:
        """A turn that has begun is kept as it began, whatever the options are by its end."""
        self._turns += 1
        try:
            yield
        finally:
            self._turns -= 1
            self._close_if_left()

    def leave(self) -> None:
        """Closes it once the turns that use it have ended; none is to begin any more."""
        self._is_left = True
        self._close_if_left()

    def _close_if_left(self) -> None:
        """On a thread of its own: a server may not answer what has begun."""
        if self._is_left and not self._turns:
            for line in self._lines:
                line.refuse()
            Thread(target=self.close, name="sessionbridge-store-close").start()

    def close(self) -> None:
        """Waits for what has begun."""
        for line in self._lines:
            line.close()

    @property
    def _lines(self) -> tuple[_Line, ...]:
        return self.reading, self.writing, self.committing


class _Line:
    """Answers one question after another, or on several `threads` as many at a time. Each waits for
    a locked database until `PATIENCE` is over since it was asked, whatever part of that it has
    waited for those before it: so they do not add up."""

    def __init__(
        self, place: Place, opened: Callable[[float], SessionStore], threads: int = 1
    ) -> None:
        self.begun: set[Future[Any]] = set()
        self._place = place
        self._open = opened
        self._stores: dict[int, SessionStore] = {}
        """By thread."""
        self._closed = False
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="sessionbridge-store")

    def refuse(self) -> None:
        """All that is asked from now on."""
        self._closed = True

    def close(self) -> None:
        self.refuse()
        self._threads.shutdown()
        with suppress(KeyError):  # until there is none, also where two close it
            while True:
                self._stores.popitem()[1].close()

    async def ask[T](self, question: Callable[[SessionStore], T], *, whole: bool = False) -> T:
        if self._closed:
            raise StoreUnavailable(
                f"The session database {self._place.name} has been closed, because the proxy stops "
                "or its options were changed; try again.",
                retry_after=1,
            )
        asked = monotonic()

        def answer() -> T:
            left = max(0.0, asked + PATIENCE - monotonic())
            return question(self._opened(left))

        begun = self._threads.submit(answer)
        self.begun.add(begun)
        begun.add_done_callback(self.begun.discard)
        try:
            return await _heard_of(begun)
        except asyncio.CancelledError:
            if whole:
                await asyncio.wait([_heard_of(begun)])
            raise

    def _opened(self, patience: float) -> SessionStore:
        store = self._stores.get(get_ident())
        if store is None:
            try:
                store = self._open(patience)
            except OSError as error:
                raise StoreUnavailable(
                    f"The folder of transcripts cannot be found ({error.strerror}); see whether "
                    "the home of the bridge and Claude's folder can be read and written."
                ) from error
            self._stores[get_ident()] = store
        store.wait_at_most(patience)
        return store


def _heard_of[T](begun: Future[T]) -> asyncio.Future[T]:
    """Its result. Who no longer waits for that takes nothing back, as with `asyncio.wrap_future`: a
    client that leaves must not make us forget a commit that is under way."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()

    def tell() -> None:
        if answered.done():
            return
        if (error := begun.exception()) is None:
            answered.set_result(begun.result())
        else:
            answered.set_exception(error)
            answered.exception()  # where nobody waits any more, asyncio would log it

    def ended(_: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell)

    begun.add_done_callback(ended)
    return answered
