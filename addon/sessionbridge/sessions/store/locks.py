"""One turn at a time per session: two processes that resume one session silently fork it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import batched

_MOST = 200
"""Locks at a time. PostgreSQL has room for 6,400 by default, for all who use it; each that is a
file needs a descriptor."""


class Locks(ABC):
    """Locks by name, had in the order in which they were asked for."""

    @abstractmethod
    def hold(self, name: str, on_wait: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """`on_wait` is called once if others are before us; what it raises is raised here, and we
        are no longer in line. Raises `StoreUnavailable` where locks cannot be used."""

    @asynccontextmanager
    async def hold_all(self, names: Iterable[str]) -> AsyncIterator[None]:
        """One after another; a turn waits for one alone, so none waits for another in a circle."""
        async with AsyncExitStack() as held:
            for name in names:
                await held.enter_async_context(self.hold(name, lambda: None))
            yield


def batches(names: Sequence[str]) -> list[tuple[str, ...]]:
    """As many at a time as there is room to hold; at least one, which may have none."""
    return list(batched(names, _MOST)) or [()]
