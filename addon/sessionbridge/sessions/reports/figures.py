"""What the whole ledger comes to, as Prometheus scrapes it.

Sums only ever grow, because no turn is taken out of the ledger. That has to hold for each group on
its own, so which clients and providers have one is settled by who came first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from sessionbridge.model import Usage
from sessionbridge.sessions.reports.sums import SUMS, known_sum
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.ledger import BRIDGED, CLIENT, KEPT, usage

Row = Mapping[str, Any]

FIRST_TOKEN_BOUNDS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
DURATION_BOUNDS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the histograms' buckets, in seconds."""

NAMED = 50
"""Clients, and providers, that have groups of their own: those whose first turn came first."""

OTHERS = "(other)"
"""All that came later. No client or provider may be called so."""


@dataclass(frozen=True, slots=True)
class Whose:
    """`client` is empty where nobody was known by a token, `provider` where it passed through."""

    client: str
    provider: str


@dataclass(frozen=True, slots=True)
class Turns:
    """How many had this plan, reason, kind of process and API."""

    whose: Whose
    plan: str
    reason: str
    process: str | None
    api: str
    turns: int


@dataclass(frozen=True, slots=True)
class Used:
    """What a model's turns used; the cost is None where of none it is known."""

    whose: Whose
    model: str
    usage: Usage
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Of how many turns each upper bound (seconds) is not exceeded; count and sum of all."""

    buckets: Sequence[tuple[float, int]]
    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    turns: Sequence[Turns]
    used: Sequence[Used]
    first_token: Histogram
    duration: Histogram


_WHOSE = f"{CLIENT} AS client, CASE WHEN {BRIDGED} THEN provider ELSE '' END AS provider"

_TURNS_SQL = f"""
    SELECT {_WHOSE}, plan, reason, process, api, count(*) AS turns, min(id) AS first_id
    FROM turns GROUP BY 1, 2, plan, reason, process, api ORDER BY first_id
"""

_USED_SQL = f"SELECT {_WHOSE}, model, {SUMS} FROM turns GROUP BY 1, 2, model ORDER BY min(id)"


def _histogram_sql(column: str, bounds: Iterable[float]) -> str:
    within = "".join(
        f", count(*) FILTER (WHERE {column} <= {round(bound * 1000)}) AS within_{number}"
        for number, bound in enumerate(bounds)
    )
    return f"""
        SELECT count({column}) AS count,
            CAST(coalesce(sum({column}), 0) AS double precision) / 1000 AS seconds{within}
        FROM turns WHERE {BRIDGED} AND {KEPT}
    """


def figures(db: Database) -> Figures:
    """Of one moment, within its caller's transaction."""
    counted, used = db.query(_TURNS_SQL, {}), db.query(_USED_SQL, {})
    histograms = (
        _histogram(db, "ttft_ms", FIRST_TOKEN_BOUNDS),
        _histogram(db, "duration_ms", DURATION_BOUNDS),
    )
    counted = list(counted)
    named = _Named(_first(counted, "client"), _first(counted, "provider"))
    return Figures(_turns(counted, named), _used(used, named), *histograms)


class _Named(NamedTuple):
    clients: frozenset[str]
    providers: frozenset[str]

    def whose(self, row: Row) -> Whose:
        client, provider = row["client"], row["provider"]
        return Whose(
            client if client in self.clients else OTHERS,
            provider if provider in self.providers else OTHERS,
        )


def _first(rows: Iterable[Row], column: str) -> frozenset[str]:
    """Of rows in the order of their first turn. Nobody, and nowhere, is always named."""
    names = dict.fromkeys(row[column] for row in rows if row[column])
    return frozenset(["", *islice(names, NAMED)])


def _turns(rows: Iterable[Row], named: _Named) -> list[Turns]:
    sums: Counter[tuple[Whose, str, str, str | None, str]] = Counter()
    for row in rows:
        how = named.whose(row), row["plan"], row["reason"], row["process"], row["api"]
        sums[how] += row["turns"]
    return [Turns(*how, turns) for how, turns in sums.items()]


def _used(rows: Iterable[Row], named: _Named) -> list[Used]:
    groups: defaultdict[tuple[Whose, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[named.whose(row), row["model"]].append(row)
    return [
        Used(*which, sum(map(usage, found), Usage()), known_sum(row["cost_usd"] for row in found))
        for which, found in groups.items()
    ]


def _histogram(
    db: Database, column: Literal["ttft_ms", "duration_ms"], bounds: Sequence[float]
) -> Histogram:
    (row,) = db.query(_histogram_sql(column, bounds), {})
    count, seconds, *within = row.values()
    return Histogram(tuple(zip(bounds, map(int, within), strict=True)), count, seconds)
