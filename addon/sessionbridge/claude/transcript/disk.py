"""Files, off the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


async def on_thread[T](work: Callable[[], T]) -> T:
    """Unlike `asyncio.to_thread` it ends when the work has ended, also where it is cancelled: what
    was written can then be removed without a race."""
    working = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def private(path: str, flags: int) -> int:
    """For `open(…, opener=private)`: a file that only its owner can read."""
    return os.open(path, flags, mode=0o600)
