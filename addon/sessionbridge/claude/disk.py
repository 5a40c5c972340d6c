"""Files, off the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


async def on_thread[T](work: Callable[[], T]) -> T:
    """Like `asyncio.to_thread`, but the work is over when this is, also when it is cancelled: what
    is written can then be removed without a race."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def private(path: str, flags: int) -> int:
    """For `open(…, opener=private)`: a file that only its owner can read."""
    return os.open(path, flags, mode=0o600)
