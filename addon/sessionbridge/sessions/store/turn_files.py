"""The turns of each session once more, in a file beside its transcript. A database that was lost is
made anew from them, and who deletes a transcript forgets both.

One line of JSON for each turn, written once it is committed: what the ledger and the lineage hold
of it, so neither prompt nor answer. Turns without a session have none, nor what is noted of a key
between its turns.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sessionbridge.disk import private, private_folder
from sessionbridge.sessions.store.ledger import TurnRecord

logger = logging.getLogger(__name__)

_SUFFIX = ".turns"


@dataclass(frozen=True, slots=True)
class KeptTurn:
    """A turn as it was committed, `at` this time (epoch seconds), after which the key had the
    session `mapped`. `id` is its number in the ledger, by which the turns of one key are in order;
    `follows` names the turn it goes on from."""

    id: int
    name: str
    at: float
    follows: str | None
    mapped: str
    record: TurnRecord


class TurnFiles:
    """Those in the folder of the transcripts, where they are written, and in that of the `others`.
    Nothing in one is no error."""

    def __init__(self, folder: Path, others: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.others = others
        self.folders = (folder, *others)

    def add(self, turn: KeptTurn) -> None:
        """The conversation goes on without it, so that it is missed only where the database is lost
        as well: told, and no error."""
        try:
            self._write(turn)
        except OSError as error:
            logger.warning(
                "A turn was committed, but not noted in %s (%s): should the session database be "
                "lost, this turn is not found again.",
                *(self.folder, error.strerror),
            )

    def _write(self, turn: KeptTurn) -> None:
        private_folder(self.folder)
        path = self.folder / f"{turn.record.internal_id}{_SUFFIX}"
        with open(path, "ab", opener=private) as file:
            # A line before it may have been cut short with its process.
            file.write(b"\n" + self._lines.dump_json(turn) + b"\n")

    def read(self) -> list[KeptTurn]:
        """All there are, the first first. Raises OSError."""
        turns = [turn for path in self._paths() for turn in self._read(path)]
        return sorted(turns, key=attrgetter("id", "at"))

    def replace(self, turns: Iterable[KeptTurn]) -> None:
        """Has these be all there are. Raises OSError."""
        for path in self._paths():
            path.unlink()
        for turn in turns:
            self._write(turn)

    def _paths(self) -> list[Path]:
        return [path for folder in self.folders for path in _in(folder)]

    def _read(self, path: Path) -> Iterator[KeptTurn]:
        """What is no turn was cut short, or is of a later version."""
        for line in path.read_bytes().splitlines():
            try:
                if line:
                    yield self._lines.validate_json(line)
            except ValidationError:
                logger.warning("A line of %s is no turn and is passed over.", path)

    @cached_property
    def _lines(self) -> TypeAdapter[KeptTurn]:
        return TypeAdapter(KeptTurn)


def _in(folder: Path) -> list[Path]:
    """Not by `glob`, to which a folder that cannot be read is an empty one."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(names) if name.endswith(_SUFFIX)]
