"""The turns of each session once more, in a file beside its transcript. A database that was lost is
made anew from them, and who deletes a transcript forgets both.

One line of JSON for each turn, written once it is committed: what the ledger and the lineage hold
of it, so neither prompt nor answer. Turns without a session have none, nor what is noted of a key
between its turns.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
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
    """A turn as it was committed, `at` this time (epoch seconds). `id` is its number in the ledger;
    `follows` the response it goes on from, which keeps its name whatever number it has."""

    id: int
    at: float
    follows: str | None
    record: TurnRecord


class TurnFiles:
    """Those in the folder of the transcripts. Nothing in it is no error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, turn: KeptTurn) -> None:
        """The conversation goes on without it, so that it is missed only where the database is lost
        as well: told, and no error."""
        path = self.folder / f"{turn.record.internal_id}{_SUFFIX}"
        try:
            private_folder(self.folder)
            with open(path, "ab", opener=private) as file:
                # A line before it may have been cut short with its process.
                file.write(b"\n" + self._lines.dump_json(turn) + b"\n")
        except OSError as error:
            logger.warning(
                "A turn was committed, but not noted in %s (%s): should the session database be "
                "lost, this turn is not found again.",
                *(path, error.strerror),
            )

    def read(self) -> list[KeptTurn]:
        """All there are, the first first. Raises OSError."""
        paths = sorted(self.folder.glob(f"*{_SUFFIX}"))
        turns = [turn for path in paths for turn in self._read(path)]
        return sorted(turns, key=attrgetter("id", "at"))

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
