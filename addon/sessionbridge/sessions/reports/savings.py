"""What the API's cache and the bridge's processes have saved.

Values and SQL only, as in `reports`; `store` runs the SQL. What is not known is not zero: turns of
a model without a price are counted as unpriced, turns that do not say what kind of process answered
as unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sessionbridge.model import Usage
from sessionbridge.sessions.reports.sums import GROUPS, SUMS, By, group_sql, known_sum, names_sql
from sessionbridge.sessions.store.engine import Dialect
from sessionbridge.sessions.store.ledger import BRIDGED, WARM, usage


class CacheRates(Protocol):
    def __call__(
        self, model: str, day: str, prompt_tokens: int, *, hour: bool = False
    ) -> tuple[float, float] | None:
        """US dollars that a token read from the cache saved, and that one written to it, for an
        `hour` or for five minutes, cost on top. None where nobody knows. `day` is in UTC."""


@dataclass(frozen=True, slots=True)
class SavingsRow:
    """The turns of one group. Both sums of money are None where no turn has a price; `unpriced`
    counts those without one. A turn answered by a live process or a spare avoided a start, one
    answered by a new process made it; traffic that passes through does neither."""

    group: Mapping[str, str]
    turns: int
    usage: Usage
    reads_saved_usd: float | None
    writes_extra_usd: float | None
    unpriced: int
    starts_avoided: int
    starts_made: int
    starts_unknown: int
    first_at: float
    last_at: float

    @property
    def net_usd(self) -> float | None:
        if self.reads_saved_usd is None or self.writes_extra_usd is None:
            return None
        return self.reads_saved_usd - self.writes_extra_usd

    @property
    def starts_avoided_share(self) -> float | None:
        """None where of no turn it is known."""
        known = self.starts_avoided + self.starts_made
        return self.starts_avoided / known if known else None


def savings_sql(by: By, dialect: Dialect) -> str:
    """Turns since `:since`, grouped, with how they were answered."""
    return f"""
        SELECT {names_sql(by, dialect)}, {SUMS},
            count(*) FILTER (WHERE {BRIDGED} AND process IN {WARM}) AS starts_avoided,
            count(*) FILTER (WHERE {BRIDGED} AND process = 'new') AS starts_made,
            count(*) FILTER (WHERE {BRIDGED} AND process IS NULL) AS starts_unknown
        FROM turns WHERE started_at >= :since
        GROUP BY {group_sql(by, dialect)} ORDER BY 1, last_at
    """


def cached_sql(by: By, dialect: Dialect) -> str:
    """The same turns, added up as far as one price holds for them."""
    return f"""
        SELECT {names_sql(by, dialect)}, model, {dialect.utc_day} AS utc_day,
            input_tokens + cache_creation_input_tokens + cache_read_input_tokens AS prompt_tokens,
            count(*) AS turns,
            sum(cache_read_input_tokens) AS tokens_read,
            sum(cache_creation_input_tokens) AS tokens_written,
            coalesce(sum(cache_creation_1h_input_tokens), 0) AS for_an_hour
        FROM turns WHERE started_at >= :since
        GROUP BY {group_sql(by, dialect)}, model, utc_day, prompt_tokens
    """


def savings_rows(
    by: By,
    groups: Iterable[Mapping[str, Any]],
    cached: Iterable[Mapping[str, Any]],
    rates: CacheRates,
) -> list[SavingsRow]:
    """The rows of both questions put together; days in order, else the most net savings first."""
    money = _money(by, cached, rates)
    rows = [_row(by, row, money[_name(by, row)]) for row in groups]
    if by != "day":
        rows.sort(key=lambda row: (row.net_usd is None, -(row.net_usd or 0.0)))
    return rows


def total_savings(by: By, rows: Sequence[SavingsRow]) -> SavingsRow:
    """All rows in one; its group has empty names."""
    return SavingsRow(
        group=dict.fromkeys(GROUPS[by], ""),
        turns=sum(row.turns for row in rows),
        usage=sum((row.usage for row in rows), Usage()),
        reads_saved_usd=known_sum(row.reads_saved_usd for row in rows),
        writes_extra_usd=known_sum(row.writes_extra_usd for row in rows),
        unpriced=sum(row.unpriced for row in rows),
        starts_avoided=sum(row.starts_avoided for row in rows),
        starts_made=sum(row.starts_made for row in rows),
        starts_unknown=sum(row.starts_unknown for row in rows),
        first_at=min((row.first_at for row in rows), default=0.0),
        last_at=max((row.last_at for row in rows), default=0.0),
    )


@dataclass(slots=True)
class _Money:
    saved: float = 0.0
    extra: float = 0.0
    priced: int = 0
    unpriced: int = 0


def _money(
    by: By, cached: Iterable[Mapping[str, Any]], rates: CacheRates
) -> Mapping[tuple[str, ...], _Money]:
    money: defaultdict[tuple[str, ...], _Money] = defaultdict(_Money)
    for row in cached:
        group = money[_name(by, row)]
        prompt = row["model"], row["utc_day"], row["prompt_tokens"]
        found, for_an_hour = rates(*prompt), rates(*prompt, hour=True)
        if found is None or for_an_hour is None:
            group.unpriced += row["turns"]
            continue
        group.priced += row["turns"]
        group.saved += found[0] * row["tokens_read"]
        group.extra += found[1] * (row["tokens_written"] - row["for_an_hour"])
        group.extra += for_an_hour[1] * row["for_an_hour"]
    return money


def _name(by: By, row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[f"by_{name}"] for name in GROUPS[by])


def _row(by: By, row: Mapping[str, Any], money: _Money) -> SavingsRow:
    return SavingsRow(
        group=dict(zip(GROUPS[by], _name(by, row), strict=True)),
        turns=row["turns"],
        usage=usage(row),
        reads_saved_usd=money.saved if money.priced else None,
        writes_extra_usd=money.extra if money.priced else None,
        unpriced=money.unpriced,
        starts_avoided=row["starts_avoided"],
        starts_made=row["starts_made"],
        starts_unknown=row["starts_unknown"],
        first_at=row["first_at"],
        last_at=row["last_at"],
    )
