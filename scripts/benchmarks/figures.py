"""A benchmark's result: what was measured, what it must reach, and whether it does.

Each module of this package has `BENCHMARKS`, its benchmarks by the name they are chosen with. A
benchmark yields its figures as they come; nothing of it may be left running when it ends.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

type Number = int | float
type Measured = Mapping[str, Number] | str


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for. `before` is the folder of an earlier version, which is measured
    beside this one. `say` tells them how far it is; it is not for results."""

    rounds: int | None = None
    before: Path | None = None
    say: Callable[[str], None] = _silent

    def rounds_or(self, usual: int) -> int:
        """How often to measure: quick things more often than slow ones, if nobody said."""
        return self.rounds or usual


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `measured` names its numbers with their unit (`p50_ms`), or says in
    words why there are none; `limit` is for people to read."""

    name: str
    measured: Measured
    limit: str
    reached: bool
    notes: Sequence[str] = ()

    def noting(self, *notes: str) -> Figure:
        return replace(self, notes=(*self.notes, *notes))


type Benchmark = Callable[[Options], Iterable[Figure]]


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)
