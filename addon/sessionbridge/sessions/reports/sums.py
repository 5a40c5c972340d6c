"""The sums people ask for: each session's totals, what was spent on what, and what goes wrong.

Values and SQL only; `store` runs the SQL. A cost nobody reported is unknown, not zero: it stays out
of the sums and is counted as unpriced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.store.engine import Dialect
from sessionbridge.sessions.store.ledger import CLIENT, KEPT, PLATFORM, usage

By = Literal["day", "client", "platform", "user", "session", "model", "provider"]

LOST = "transcripts disappear: see cleanupPeriodDays"
WINDOW = "the client drops or rewrites the beginning of its history (sliding window)"
ALTERED = "the client alters answers or earlier messages"


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A row of the session map with the totals of every turn of its key.

    `plan` and `reason` are those of the newest turn; None where there is no turn yet. `imports`
    counts those of the `recent_turns` (20 at most) that had to bring history in; `cause` is the
    likely reason where that is more than half of them.
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
    recent_turns: int
    imports: int
    cause: str | None


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


def likely_cause(recent: int, *, lost: int, whole: int, partial: int) -> str | None:
    """Why most of a key's recent turns could not simply go on; None where most of them could.

    No turn counts twice: `lost` are those that lost their memory and imports right after one that
    did, `whole` the imports that found nothing of their conversation, `partial` those that found
    its beginning and something else after it.
    """
    if recent < 3 or 2 * (lost + whole + partial) <= recent:
        return None
    kinds = {LOST: lost, WINDOW: whole, ALTERED: partial}
    return max(kinds, key=lambda cause: kinds[cause])


SUMS = """
    count(*) AS turns,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cache_creation_input_tokens) AS cache_creation_input_tokens,
    sum(cache_read_input_tokens) AS cache_read_input_tokens,
    sum(cache_creation_1h_input_tokens) AS cache_creation_1h_input_tokens,
    sum(cost_usd) AS cost_usd,
    count(*) - count(cost_usd) AS unpriced,
    min(started_at) AS first_at,
    max(started_at) AS last_at
"""

GROUPS: Mapping[By, tuple[str, ...]] = {
    "day": ("day",),
    "client": ("client",),
    "platform": ("platform",),
    "user": ("client", "platform", "user"),
    "session": ("client", "platform", "session"),
    "model": ("model",),
    "provider": ("provider",),
}
"""What names a group. A day is the reader's own, as on the clock of the machine that asks; the
client is empty where nobody is known by a token."""

_COLUMNS = {
    "client": CLIENT,
    "platform": PLATFORM,
    "user": "external_id",
    "session": "internal_id",
    "model": "model",
    "provider": "provider",
}

# The kinds of `likely_cause` among the newest turns. Whoever asks to start over wants the import,
# and another provider's turns are no loss.
_RECENT = f"""
    aged AS (
        SELECT scope, external_id, provider, parent_id IS NULL AS rootless,
            plan = 'import' AND reason NOT IN ('started_over', 'moved') AS imported,
            reason = 'memory_lost' AND plan <> 'import' AS lost,
            'memory_lost' IN (reason, lead(reason, 1, '') OVER newest) AS after_loss,
            row_number() OVER newest AS age
        FROM turns WHERE {KEPT}
        WINDOW newest AS (PARTITION BY scope, external_id, provider ORDER BY id DESC)
    ),
    recent AS (
        SELECT scope, external_id, provider, count(*) AS recent_turns,
            count(*) FILTER (WHERE imported) AS imports,
            count(*) FILTER (WHERE lost OR (imported AND after_loss)) AS lost,
            count(*) FILTER (WHERE imported AND rootless AND NOT after_loss) AS whole,
            count(*) FILTER (WHERE imported AND NOT rootless AND NOT after_loss) AS partial
        FROM aged WHERE age <= 20 GROUP BY scope, external_id, provider
    )
"""

SESSIONS_SQL = f"""
    WITH totals AS (
        SELECT scope, external_id, provider, {SUMS}
        FROM turns GROUP BY scope, external_id, provider
    ),
    {_RECENT}
    SELECT
        m.scope, m.external_id, m.provider, m.internal_id,
        m.created_at, m.last_used_at, m.metadata,
        coalesce(t.turns, 0) AS turns,
        coalesce(t.input_tokens, 0) AS input_tokens,
        coalesce(t.output_tokens, 0) AS output_tokens,
        coalesce(t.cache_creation_input_tokens, 0) AS cache_creation_input_tokens,
        coalesce(t.cache_read_input_tokens, 0) AS cache_read_input_tokens,
        t.cache_creation_1h_input_tokens, t.cost_usd, coalesce(t.unpriced, 0) AS unpriced,
        last.plan, last.reason,
        coalesce(r.recent_turns, 0) AS recent_turns, coalesce(r.imports, 0) AS imports,
        coalesce(r.lost, 0) AS lost, coalesce(r.whole, 0) AS whole,
        coalesce(r.partial, 0) AS partial
    FROM session_map m
    LEFT JOIN totals t USING (scope, external_id, provider)
    LEFT JOIN recent r USING (scope, external_id, provider)
    -- of the session that is mapped: a side call is not what the conversation came to
    LEFT JOIN turns last ON last.id = (
        SELECT max(id) FROM turns WHERE turns.internal_id = m.internal_id
    )
    ORDER BY m.last_used_at DESC
"""


def group_sql(by: By, dialect: Dialect) -> str:
    return ", ".join(_columns(by, dialect).values())


def names_sql(by: By, dialect: Dialect) -> str:
    """The columns that name a group: `by_platform`, `by_user` and so on."""
    return ", ".join(f'{sql} AS "by_{name}"' for name, sql in _columns(by, dialect).items())


def _columns(by: By, dialect: Dialect) -> dict[str, str]:
    known = {**_COLUMNS, "day": dialect.day}
    return {name: known[name] for name in GROUPS[by]}


def costs_sql(by: By, dialect: Dialect, only: str = "TRUE") -> str:
    """Turns since `:since`, grouped; days in order, everything else by what it cost. `only` is SQL
    that is true of those that count."""
    order = "1" if by == "day" else "cost_usd DESC NULLS LAST, turns DESC, 1, last_at"
    return (
        f"SELECT {names_sql(by, dialect)}, {SUMS} FROM turns "
        f"WHERE started_at >= :since AND {only} GROUP BY {group_sql(by, dialect)} ORDER BY {order}"
    )


def cost_row(by: By, row: Mapping[str, Any]) -> CostRow:
    return CostRow(
        group={name: row[f"by_{name}"] for name in GROUPS[by]},
        turns=row["turns"],
        usage=usage(row),
        cost_usd=row["cost_usd"],
        unpriced=row["unpriced"],
        first_at=row["first_at"],
        last_at=row["last_at"],
    )


def total_cost(by: By, rows: Sequence[CostRow]) -> CostRow:
    """All rows in one; its group has empty names."""
    return CostRow(
        group=dict.fromkeys(GROUPS[by], ""),
        turns=sum(row.turns for row in rows),
        usage=sum((row.usage for row in rows), Usage()),
        cost_usd=known_sum(row.cost_usd for row in rows),
        unpriced=sum(row.unpriced for row in rows),
        first_at=min((row.first_at for row in rows), default=0.0),
        last_at=max((row.last_at for row in rows), default=0.0),
    )


def money(cost_usd: float | None, unpriced: int = 0) -> str:
    """US dollars as people read them: `?` where no cost is known, and `+ ?` at the end where those
    of `unpriced` turns are missing in it."""
    if cost_usd is None:
        return "?"
    return f"{cost_usd:.4f} + ?" if unpriced else f"{cost_usd:.4f}"


def known_sum(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def session_summary(row: Mapping[str, Any]) -> SessionSummary:
    return SessionSummary(
        key=SessionKey(row["scope"], row["external_id"], row["provider"]),
        internal_id=row["internal_id"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        metadata=json.loads(row["metadata"]),
        turns=row["turns"],
        usage=usage(row),
        cost_usd=row["cost_usd"],
        unpriced=row["unpriced"],
        plan=row["plan"],
        reason=row["reason"],
        recent_turns=row["recent_turns"],
        imports=row["imports"],
        cause=likely_cause(
            row["recent_turns"], lost=row["lost"], whole=row["whole"], partial=row["partial"]
        ),
    )
