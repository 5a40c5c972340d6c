"""The JSON documents the page shows: the overview and the list of sessions.

Sums have the names they have in `sessionbridge cost --json`. Times are epoch seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sessionbridge.dashboard.state import State
from sessionbridge.sessions.reports.activity import Activity, Bucket, Counted
from sessionbridge.sessions.reports.budgets import LISTED as BUDGETS_LISTED
from sessionbridge.sessions.reports.budgets import NamedBudget
from sessionbridge.sessions.reports.sums import CostRow, SessionSummary
from sessionbridge.sessions.store.ledger import key_document

LISTED = 200
"""Sessions in one document. The command line lists them all."""


def overview(
    span: str, kept: tuple[Activity, Sequence[NamedBudget]] | None, state: State
) -> dict[str, Any]:
    """`ledger` is None where nothing is `kept` of any turn."""
    return {
        "span": span,
        "ledger": None if kept is None else _ledger(*kept),
        "live": {
            "turns": [asdict(turn) for turn in state.turns],
            "running": state.running,
            "waiting": state.waiting,
            "processes": {"live": state.live, "spares": state.spares},
        },
    }


def sessions(summaries: Sequence[SessionSummary]) -> dict[str, Any]:
    """Those used last; `total` is how many there are."""
    return {"total": len(summaries), "sessions": [_session(row) for row in summaries[:LISTED]]}


def _ledger(activity: Activity, budgets: Sequence[NamedBudget]) -> dict[str, Any]:
    bridged = [row for row in activity.counts if row.bridged]
    total, several = activity.total, len(activity.providers) > 1
    return {
        "since": activity.since,
        "until": activity.until,
        "bucket_seconds": activity.seconds,
        "totals": {
            **_sums(total),
            "unpriced_turns": total.unpriced,
            "starts_avoided": activity.starts_avoided,
        },
        "series": [_bucket(bucket) for bucket in activity.buckets],
        "plans": _tally(activity.counts, lambda row: row.plan),
        "reasons": _tally(bridged, lambda row: row.reason),
        "processes": _tally(bridged, lambda row: row.process or "unknown"),
        "platforms": _turns_of(activity.platforms, "platform"),
        "models": _turns_of(activity.models, "model"),
        "clients": _clients(activity.clients),
        "providers": _spenders(activity.providers, "provider") if several else [],
        "budgets": [_budget(budget) for budget in budgets[:BUDGETS_LISTED]],
        "plan_windows": [one.document(activity.until) for one in activity.plan_windows],
    }


def _clients(rows: Sequence[CostRow]) -> list[dict[str, Any]]:
    """Nothing where nobody is known by a token; else who is not has no name."""
    known = any(row.group["client"] for row in rows)
    return _spenders(rows, "client") if known else []


def _spenders(rows: Iterable[CostRow], group: str) -> list[dict[str, Any]]:
    return [
        {"name": row.group[group], **_sums(row), "unpriced_turns": row.unpriced} for row in rows
    ]


def _budget(one: NamedBudget) -> dict[str, Any]:
    """Exactly one of `usd` and `tokens` is the limit, and says what `used` is in."""
    return {
        "of": one.whose,
        "name": one.name,
        **one.budget.model_dump(),
        "used": one.used,
        "share": one.share,
        "until": one.until,
    }


def _sums(row: CostRow | Bucket | SessionSummary) -> dict[str, Any]:
    return {
        "turns": row.turns,
        **asdict(row.usage),
        "cache_hit": row.usage.cache_hit,
        "cost_usd": row.cost_usd,
    }


def _bucket(bucket: Bucket) -> dict[str, Any]:
    return {
        "at": bucket.at,
        **_sums(bucket),
        "ttft_p50_ms": bucket.first_token_p50,
        "ttft_p95_ms": bucket.first_token_p95,
    }


def _tally(counts: Iterable[Counted], name: Callable[[Counted], str]) -> list[dict[str, Any]]:
    """The most frequent first."""
    tally: Counter[str] = Counter()
    for row in counts:
        tally[name(row)] += row.turns
    return [{"name": name, "turns": turns} for name, turns in tally.most_common()]


def _turns_of(rows: Iterable[CostRow], group: str) -> list[Mapping[str, Any]]:
    named = [{"name": row.group[group], "turns": row.turns} for row in rows]
    return sorted(named, key=lambda row: -row["turns"])


def _session(row: SessionSummary) -> dict[str, Any]:
    return {
        **key_document(row.key),
        "session": row.internal_id,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
        "plan": row.plan,
        "reason": row.reason,
        **_sums(row),
        "unpriced_turns": row.unpriced,
        "recent_turns": row.recent_turns,
        "imports": row.imports,
        "likely_cause": row.cause,
    }
