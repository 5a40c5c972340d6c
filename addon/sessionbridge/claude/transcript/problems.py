"""What becomes of an error of the files beside transcripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sessionbridge.errors import StoreUnavailable


@contextmanager
def told(what: str, done: str) -> Iterator[None]:
    """Within it, OSError leaves as `StoreUnavailable`, which says that this cannot be done."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"{what} cannot be {done} ({error.strerror}); see whether the disk with Claude's "
            "folder is full, and the folder can be written."
        ) from error
