"""Conversations that clients have created, each in a file beside the transcripts: what an API tells
of it, and its items in that API's words, which no transcript has a place for.

The first line tells whose it is, each further one what came to it, in order. Items that a client
gave name the turn `after` which they came. Those of a turn name the transcript's `entry` that it
ended at, too, and are there before the turn is committed: of one that never was, nothing counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sessionbridge.disk import write_whole

SUFFIX = ".conversation"

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Added:
    """`after` and `entry` are those of turns; None stands for the beginning, and for no turn."""

    after: str | None
    items: Sequence[Item]
    entry: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """`created_at` is in epoch seconds, `caller` a hash of the credentials that it was created
    with."""

    created_at: float
    caller: str
    metadata: Mapping[str, str]
    added: tuple[Added, ...] = ()

    @property
    def turns(self) -> list[str]:
        """The entries that turns ended at, the newest first, whatever became of these."""
        return [one.entry for one in reversed(self.added) if one.entry is not None]

    def items(self, end: str | None) -> list[Item]:
        """All of them, where the turn that ended there is the last one."""
        line = self._line(end)
        return [item for one in self.added if _is_of(one, line) for item in one.items]

    def since(self, end: str | None) -> list[Item]:
        """Those that were given after this turn."""
        given = (one for one in self.added if one.entry is None and one.after == end)
        return [item for one in given for item in one.items]

    def _line(self, end: str | None) -> set[str | None]:
        """The turns up to this one. A turn that was retried is followed by none."""
        before = {one.entry: one.after for one in self.added if one.entry is not None}
        line: set[str | None] = {None}
        while end in before and end not in line:
            line.add(end)
            end = before[end]
        return line


def _is_of(one: Added, line: Collection[str | None]) -> bool:
    return (one.after if one.entry is None else one.entry) in line


def place(folder: Path, id_: str) -> Path:
    return folder / f"{id_}{SUFFIX}"


def read(path: Path) -> Conversation | None:
    """None where there is none. Raises OSError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return _read(path, (status.st_ino, status.st_size, status.st_mtime_ns))


def head(path: Path) -> Conversation | None:
    """The same without what came to it, which may be megabytes. Raises OSError."""
    try:
        return next(filter(None, map(_begun, _lines(path))), None)
    except FileNotFoundError:
        return None


def write(path: Path, conversation: Conversation) -> None:
    """In the place of the one that is there. Raises OSError."""
    first = asdict(replace(conversation, added=()))
    del first["added"]
    lines = [first, *map(asdict, conversation.added)]
    write_whole(path, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    forget_deleted()


def add(path: Path, added: Added) -> None:
    """Raises OSError."""
    with open(path, "r+b") as file:  # never makes one that was deleted anew
        file.seek(0, 2)
        # A line before it may have been cut short with its process.
        file.write(b"\n" + json.dumps(asdict(added)).encode() + b"\n")


def forget_deleted() -> None:
    """What is no longer in the files is not to stay in the memory."""
    _read.cache_clear()


@lru_cache(maxsize=2)  # a turn looks at it more than once
def _read(path: Path, _: tuple[int, ...]) -> Conversation | None:
    """Of another version of the file it is another."""
    found: Conversation | None = None
    added: list[Added] = []
    for line in _lines(path):
        found = found or _begun(line)
        match line:
            case {"after": str() | None as after, "items": list(items), "entry": str() | None as e}:
                added.append(Added(after, list(filter(_is_item, items)), e))
    return replace(found, added=tuple(added)) if found else None


def _begun(line: object) -> Conversation | None:
    """None for a line that is no conversation's first."""
    match line:
        case {"created_at": float(at), "caller": str(caller), "metadata": dict(metadata)}:
            return Conversation(at, caller, metadata) if math.isfinite(at) else None
    return None


def _is_item(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str)


def _lines(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        for line in file:
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):  # empty, cut short, or not of ours
                continue
