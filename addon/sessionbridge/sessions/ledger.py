"""What is kept about each key and turn, and the sums people ask for. Never prompt or answer text.

Values and SQL only; `store` runs the SQL. A cost nobody reported is unknown, not zero: it stays out
of the sums and is counted as unpriced.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sessionbridge.turn import Point, SessionKey, Usage

By = Literal["day", "platform", "user", "session", "model"]


@dataclass(frozen=True, slots=True)
class MapRow:
    """What the session map holds for a key. Times are epoch seconds."""

    key: SessionKey
    internal_id: str
    created_at: float
    last_used_at: float
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Everything one read tells about a key.

    `tip` is where the newest committed turn of `row.internal_id` ended. `points` are the key's
    points among the hashes asked for, newest turn first. `asked` is the hash of what that newest
    turn was asked and `request` its idempotency key; `before` is where it had continued from, None
    where it began a session.
    """

    row: MapRow | None
    tip: Point | None
    points: tuple[Point, ...]
    asked: str | None = None
    request: str | None = None
    before: Point | None = None


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One committed turn. `points` are the (hash, entry uuid) pairs it can be continued from.

    `metadata` goes to the key's map row, where it is merged with what is already there.
    """

    key: SessionKey
    internal_id: str
    parent_id: int | None
    ask_hash: str
    history_hash: str
    tip_uuid: str
    response_id: str | None
    idempotency_key: str | None
    plan: str
    reason: str
    status: str
    api: str
    model: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    ttft_ms: int | None
    duration_ms: int
    points: tuple[tuple[str, str], ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A row of the session map with the totals of every turn of its key.

    `plan` and `reason` are those of the newest turn; None where there is no turn yet.
    """

    key: SessionKey
    internal_id: str
    created_at: float
    last_used_at: float
    metadata: Mapping[str, Any]
    turns: int
    usage: Usage
    cost_usd: float | None
    unpriced: int
    plan: str | None
    reason: str | None

    @property
    def cache_hit(self) -> float | None:
        return cache_hit(self.usage)


@dataclass(frozen=True, slots=True)
class CostRow:
    """The turns of one group; `group` names it, for example `{"model": "claude-opus-4-5"}`."""

    group: Mapping[str, str]
    turns: int
    usage: Usage
    cost_usd: float | None
    unpriced: int
    first_at: float
    last_at: float

    @property
    def cache_hit(self) -> float | None:
        return cache_hit(self.usage)


def cache_hit(usage: Usage) -> float | None:
    """The share of the prompt that was read from the cache; None where no prompt was counted."""
    if not usage.prompt_tokens:
        return None
    return usage.cache_read_input_tokens / usage.prompt_tokens


def turn_row(record: TurnRecord) -> dict[str, Any]:
    return {
        "scope": record.key.scope,
        "external_id": record.key.external_id,
        "provider": record.key.provider,
        "internal_id": record.internal_id,
        "parent_id": record.parent_id,
        "ask_hash": record.ask_hash,
        "history_hash": record.history_hash,
        "tip_uuid": record.tip_uuid,
        "response_id": record.response_id,
        "idempotency_key": record.idempotency_key,
        "plan": record.plan,
        "reason": record.reason,
        "status": record.status,
        "api": record.api,
        "model": record.model,
        "input_tokens": record.usage.input_tokens,
        "output_tokens": record.usage.output_tokens,
        "cache_creation_input_tokens": record.usage.cache_creation_input_tokens,
        "cache_read_input_tokens": record.usage.cache_read_input_tokens,
        "cost_usd": record.cost_usd,
        "started_at": record.started_at,
        "ttft_ms": record.ttft_ms,
        "duration_ms": record.duration_ms,
    }


_SUMS = """
    count(*) AS turns,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cache_creation_input_tokens) AS cache_creation_input_tokens,
    sum(cache_read_input_tokens) AS cache_read_input_tokens,
    sum(cost_usd) AS cost_usd,
    count(*) - count(cost_usd) AS unpriced,
    min(started_at) AS first_at,
    max(started_at) AS last_at
"""

# A day is the reader's own, as on the clock of the machine that asks.
GROUPS: Mapping[By, Mapping[str, str]] = {
    "day": {"day": "date(started_at, 'unixepoch', 'localtime')"},
    "platform": {"platform": "scope"},
    "user": {"platform": "scope", "user": "external_id"},
    "session": {"platform": "scope", "session": "internal_id"},
    "model": {"model": "model"},
}

SESSIONS_SQL = f"""
    WITH totals AS (
        SELECT scope, external_id, provider, max(id) AS last_id, {_SUMS}
        FROM turns GROUP BY scope, external_id, provider
    )
    SELECT
        m.scope, m.external_id, m.provider, m.internal_id,
        m.created_at, m.last_used_at, m.metadata,
        coalesce(t.turns, 0) AS turns,
        coalesce(t.input_tokens, 0) AS input_tokens,
        coalesce(t.output_tokens, 0) AS output_tokens,
        coalesce(t.cache_creation_input_tokens, 0) AS cache_creation_input_tokens,
        coalesce(t.cache_read_input_tokens, 0) AS cache_read_input_tokens,
        t.cost_usd, coalesce(t.unpriced, 0) AS unpriced,
        last.plan, last.reason
    FROM session_map m
    LEFT JOIN totals t USING (scope, external_id, provider)
    LEFT JOIN turns last ON last.id = t.last_id
    ORDER BY m.last_used_at DESC
"""


def costs_sql(by: By) -> str:
    """Turns since `:since`, grouped; days in order, everything else by what it cost."""
    expressions = GROUPS[by].values()
    names = ", ".join(f'{sql} AS "by_{name}"' for name, sql in GROUPS[by].items())
    order = "1" if by == "day" else "cost_usd DESC NULLS LAST, turns DESC, 1, last_at"
    return (
        f"SELECT {names}, {_SUMS} FROM turns WHERE started_at >= :since "
        f"GROUP BY {', '.join(expressions)} ORDER BY {order}"
    )


def cost_row(by: By, row: Mapping[str, Any]) -> CostRow:
    return CostRow(
        group={name: row[f"by_{name}"] for name in GROUPS[by]},
        turns=row["turns"],
        usage=_usage(row),
        cost_usd=row["cost_usd"],
        unpriced=row["unpriced"],
        first_at=row["first_at"],
        last_at=row["last_at"],
    )


def session_summary(row: Mapping[str, Any]) -> SessionSummary:
    return SessionSummary(
        key=SessionKey(row["scope"], row["external_id"], row["provider"]),
        internal_id=row["internal_id"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        metadata=json.loads(row["metadata"]),
        turns=row["turns"],
        usage=_usage(row),
        cost_usd=row["cost_usd"],
        unpriced=row["unpriced"],
        plan=row["plan"],
        reason=row["reason"],
    )


def _usage(row: Mapping[str, Any]) -> Usage:
    return Usage(
        row["input_tokens"],
        row["output_tokens"],
        row["cache_creation_input_tokens"],
        row["cache_read_input_tokens"],
    )
