"""What happened when: the sums, buckets and counts that the dashboard plots.

Each function reads within its caller's transaction, so that all of its figures are of one moment.
What passed through counts as use like every other turn, but had no process and no plan of ours:
latencies and reasons leave it out. Latencies are those of turns that came to their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessionbridge.model import Usage
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.reports.sums import SUMS, By, CostRow, cost_row, costs_sql, total_cost
from sessionbridge.sessions.store import plan_windows
from sessionbridge.sessions.store.engine import Database, Dialect
from sessionbridge.sessions.store.ledger import BRIDGED, KEPT, PASSED, WARM, usage

HOUR = 3600
DAY = 24 * HOUR

_HOURS_UP_TO = 2 * DAY
"""Seconds; a longer span is shown by the day."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many turns had this plan, reason, kind of process and API."""

    plan: str
    reason: str
    process: str | None
    api: str
    turns: int

    @property
    def bridged(self) -> bool:
        return self.plan != PASSED


@dataclass(frozen=True, slots=True)
class Bucket:
    """The turns that began in the hour or day that starts `at` (epoch seconds). The times to the
    first token are milliseconds at the 50th and 95th percentile, None where nothing was timed."""

    at: int
    turns: int
    usage: Usage
    cost_usd: float | None
    first_token_p50: int | None
    first_token_p95: int | None


@dataclass(frozen=True, slots=True)
class Activity:
    """What was done since `since`; None is the beginning. `seconds` is the length of a bucket, and
    buckets in which nothing began are left out. The rows of `platforms` are those of
    `sessionbridge cost`, and `total` is their sum; those of `clients` and `providers` leave out
    what passed through. The plan's windows are those of now."""

    since: float | None
    until: float
    seconds: int
    buckets: Sequence[Bucket]
    counts: Sequence[Counted]
    platforms: Sequence[CostRow]
    models: Sequence[CostRow]
    clients: Sequence[CostRow]
    providers: Sequence[CostRow]
    plan_windows: Sequence[PlanWindow]

    @property
    def total(self) -> CostRow:
        return total_cost("platform", self.platforms)

    @property
    def starts_avoided(self) -> int:
        """Turns that a process answered which was there already."""
        return sum(row.turns for row in self.counts if row.bridged and row.process in WARM)


_COUNTS_SQL = """
    SELECT plan, reason, process, api, count(*) AS turns FROM turns
    WHERE started_at >= :since GROUP BY plan, reason, process, api ORDER BY turns DESC, plan, reason
"""


def _buckets_sql(seconds: int, dialect: Dialect) -> str:
    """Percentiles by nearest rank: the first of the sorted times that so many do not exceed. A day
    is the reader's own, as in the reports."""
    begin = dialect.begin_of_hour if seconds == HOUR else dialect.begin_of_day
    return f"""
        WITH placed AS (
            SELECT *, {begin} AS at FROM turns WHERE started_at >= :since
        ),
        ranked AS (
            SELECT at, ttft_ms, row_number() OVER (PARTITION BY at ORDER BY ttft_ms) AS rank,
                count(*) OVER (PARTITION BY at) AS timed
            FROM placed WHERE ttft_ms IS NOT NULL AND {BRIDGED} AND {KEPT}
        ),
        waits AS (
            SELECT at, min(CASE WHEN 100 * rank >= 50 * timed THEN ttft_ms END) AS p50,
                min(CASE WHEN 100 * rank >= 95 * timed THEN ttft_ms END) AS p95
            FROM ranked GROUP BY at
        )
        SELECT at, p50, p95, {SUMS}
        FROM placed LEFT JOIN waits USING (at) GROUP BY at, p50, p95 ORDER BY at
    """


def activity(db: Database, since: float | None, now: float) -> Activity:
    """Times are epoch seconds. The buckets fit the span from the first turn in it until `now`."""
    bounds = {"since": 0.0 if since is None else since}
    platforms = _costs(db, "platform", bounds)
    first = min((row.first_at for row in platforms), default=now)
    seconds = HOUR if now - first <= _HOURS_UP_TO else DAY
    return Activity(
        since=since,
        until=now,
        seconds=seconds,
        buckets=[_bucket(row) for row in db.query(_buckets_sql(seconds, db.dialect), bounds)],
        counts=_counts(db, bounds),
        platforms=platforms,
        models=_costs(db, "model", bounds),
        clients=_costs(db, "client", bounds, BRIDGED),
        providers=_costs(db, "provider", bounds, BRIDGED),
        plan_windows=plan_windows.windows(db),
    )


def _costs(db: Database, by: By, bounds: dict[str, float], only: str = "TRUE") -> list[CostRow]:
    return [cost_row(by, row) for row in db.query(costs_sql(by, db.dialect, only), bounds)]


def _counts(db: Database, bounds: dict[str, float]) -> list[Counted]:
    return [Counted(**row) for row in db.query(_COUNTS_SQL, bounds)]


def _bucket(row: Mapping[str, Any]) -> Bucket:
    return Bucket(row["at"], row["turns"], usage(row), row["cost_usd"], row["p50"], row["p95"])
