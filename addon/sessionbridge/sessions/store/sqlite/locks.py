"""One turn at a time per session, over all proxies of one home.

Who arrives takes a ticket: the file `<hash of the name>.<number>`, locked (`flock`) for as long as
its owner waits or holds. It is one's turn when every lower ticket is free. How this comes to be in
order of arrival, and to leave nothing behind:

- The system unlocks a file when its process dies, however it dies, and no child inherits it. A
  ticket that is there and not locked is that of a dead process, and counts for nothing.
- Tickets are numbered, made and locked under `guard`, so none is ever seen before it is locked. The
  number is one more than the highest in line: none below one's own is given out again while one is
  in line, which is why a dead ticket may be removed by its name without a race.
- Each `FileLocks` has one thread for its files, which does and answers things in the order they
  were asked for. So tickets are taken, and their owners line up for the `asyncio.Lock`, in order of
  arrival; and what a cancelled waiter had begun is undone after it.
- Nothing can wait for another process's `flock` without blocking a thread, so it is polled, but
  only by the first in line of each process: the others are woken by the one before them.

Windows has no `flock`. There turns wait for each other within one process only.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from weakref import WeakValueDictionary

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.locks import Locks
from sessionbridge.sessions.store.sqlite.quarantine import guard

if sys.platform != "win32":
    import fcntl

_POLL_SECONDS = 0.02
_GUARD_SECONDS = 5.0


class FileLocks(Locks):
    """`folder` is made when it is first needed; no name can be read in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._thread = ThreadPoolExecutor(
            max_workers=1,
            thread_name_prefix="sessionbridge-locks",
            initializer=_sweep,
            initargs=(folder,),
        )

    @asynccontextmanager
    async def hold(self, name: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
        ticket = _Ticket(self.folder, name)
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            first = await self._answer(ticket.take)
            if not first or lock.locked():  # the latter where there are no tickets
                on_wait()
            async with lock:
                if not first:
                    await self._come_first(ticket)
                yield
        finally:
            # Shielded: cancelled once more before the thread comes to it, it would never be done.
            await asyncio.shield(self._in_thread(ticket.leave))

    async def _come_first(self, ticket: _Ticket) -> None:
        while not await self._answer(ticket.is_first):  # noqa: ASYNC110 (no event comes from others)
            await asyncio.sleep(_POLL_SECONDS)

    async def _answer(self, question: Callable[[], bool]) -> bool:
        try:
            return await self._in_thread(question)
        except OSError as error:
            raise StoreUnavailable(
                f"The session locks in {self.folder} cannot be used ({error}); check that folder, "
                "or choose another home with SESSIONBRIDGE_HOME."
            ) from error

    def _in_thread[T](self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


class _Ticket:
    """A place in line for `name`; its methods run on the thread of `FileLocks`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._line = sha256(name.encode(errors="surrogatepass")).hexdigest()
        self._path = folder
        self._handle: int | None = None
        self._ahead: list[int] = []

    def take(self) -> bool:
        """Whether it is the first in line."""
        if sys.platform == "win32":
            return True
        with guard(self._folder, _GUARD_SECONDS):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._ahead = self._in_line()
            self._path = self._numbered(self._ahead[-1] + 1 if self._ahead else 0)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self.is_first()

    def is_first(self) -> bool:
        while self._ahead and _free(self._numbered(self._ahead[0])):
            del self._ahead[0]
        return not self._ahead

    def leave(self) -> None:
        """Without effect where there is no ticket."""
        if self._handle is not None:
            with suppress(OSError):  # not locked any more, it counts for nothing
                self._path.unlink()
            os.close(self._handle)

    def _in_line(self) -> list[int]:
        prefix = f"{self._line}."
        names = [name for name in os.listdir(self._folder) if name.startswith(prefix)]
        return sorted(int(name.removeprefix(prefix)) for name in names)

    def _numbered(self, number: int) -> Path:
        return self._folder / f"{self._line}.{number}"


def _sweep(folder: Path) -> None:
    """Removes what dead processes left in lines that nobody may ever join again."""
    with suppress(OSError), guard(folder, _GUARD_SECONDS):
        for name in os.listdir(folder):
            _free(folder / name)


def _free(path: Path) -> bool:
    """Whether nobody has this ticket; that of a dead process is removed."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        # Shared, so that two who look at the same moment do not take each other for the owner.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
