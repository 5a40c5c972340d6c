"""One turn at a time per session: two processes that resume one session silently fork it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from weakref import WeakValueDictionary


class Locks:
    """Locks by name, in order of arrival; a lock nobody holds or waits for is forgotten."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: Hashable) -> asyncio.Lock:
        """Use as `async with locks.of(key):`; a waiter that is cancelled leaves no trace."""
        return self._locks.setdefault(name, asyncio.Lock())
