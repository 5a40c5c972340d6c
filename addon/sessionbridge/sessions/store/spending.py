"""What turns have used of budgets and rates, and may still use; each function within its caller's
transaction.

A turn has a row from before it begins, with an estimate, which what it has used takes the place of
once it has ended. One whose process was killed keeps the estimate: what it has used nobody knows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from secrets import randbits
from typing import Any, Literal

from sessionbridge.allowances import Allowance, Budget, window
from sessionbridge.errors import OverBudget, RateLimited
from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.store.engine import Database, first, insert_sql
from sessionbridge.sessions.store.ledger import READ, usage

_MINUTE = 60.0
_SETTLED = 2 * _MINUTE
"""Seconds after which no rate asks for a turn any more."""

_REACHED = 62 * 86400.0
"""Seconds; longer than any window."""

_TIDIES = 64
"""One turn in so many sums up those before it."""

_EXACT = 1e-9
"""US dollars that sums of fractions may be off by."""

_SOON = 5
"""Seconds, about as long as a short turn takes."""


@dataclass(frozen=True, slots=True)
class Used:
    cost_usd: float
    tokens: int


Estimate = Callable[[tuple[str, Usage] | None], Used]
"""What a turn may use, by the model and usage of the turn that it goes on from, where these are
known. Asked within a transaction."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """A turn that is to begin. `id` is a number that no other turn has, so that it can be settled
    whether or not it is known to be there; it has ended within `lasts` seconds."""

    id: int
    client: str
    provider: str
    lasts: float

    @classmethod
    def anew(cls, client: str, provider: str, lasts: float) -> Reserved:
        return cls(randbits(62), client, provider, lasts)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a turn that was reserved has used."""

    reserved: Reserved
    used: Used


@dataclass(frozen=True, slots=True)
class Limited:
    """A client or a provider that has an allowance."""

    of: Literal["client", "provider"]
    name: str
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """Of the window that ends at `until` (epoch seconds); `used` includes what is reserved, in the
    budget's own unit."""

    budget: Budget
    used: float
    until: float

    @property
    def limit(self) -> float:
        known = self.budget.usd if self.budget.tokens is None else self.budget.tokens
        assert known is not None
        return known

    @property
    def left(self) -> float:
        return max(0.0, self.limit - self.used)

    @property
    def share(self) -> float:
        """A budget of nothing is used up."""
        return self.used / self.limit if self.limit else 1.0

    def has_room_for(self, estimate: Used) -> bool:
        # Also one that costs nothing is none for a budget of nothing.
        return self.limit > 0 and self.used + self.of(estimate) <= self.limit + _EXACT

    def can_ever_hold(self, estimate: Used) -> bool:
        """Whether there is room for it once the next window begins."""
        return replace(self, used=0.0).has_room_for(estimate)

    def of(self, used: Used) -> float:
        return used.cost_usd if self.budget.tokens is None else used.tokens


@dataclass(frozen=True, slots=True)
class Use:
    """`lately` counts the turns that began in the last minute, `at_once` those under way."""

    budgets: tuple[BudgetUse, ...]
    lately: int
    at_once: int


def use(db: Database, limited: Limited, now: float) -> Use:
    """Also what seems to begin after now counts: then the clock was ahead once."""
    budgets = limited.allowance.budgets
    windows = [window(budget.per, now) for budget in budgets]
    begins = {f"begin_{place}": begin for place, (begin, _) in enumerate(windows)}
    sums = [
        f"coalesce(sum(CASE WHEN started_at >= :begin_{place} THEN {_column(budget)} END), 0)"
        f" AS used_{place}"
        for place, budget in enumerate(budgets)
    ]
    counts = [
        # A minute ahead, or whose clock was set back would wait for that time to come again.
        "count(CASE WHEN started_at > :earliest AND started_at <= :latest THEN 1 END) AS lately",
        "count(CASE WHEN until > :now AND started_at <= :latest THEN 1 END) AS at_once",
    ]
    sql = f"SELECT {', '.join([*sums, *counts])} FROM spending WHERE {limited.of} = :name"
    minute = {"now": now, "earliest": now - _MINUTE, "latest": now + _MINUTE}
    (row,) = db.query(sql, {"name": limited.name, **minute, **begins})
    used = tuple(
        BudgetUse(budget, float(row[f"used_{place}"]), end)
        for place, (budget, (_, end)) in enumerate(zip(budgets, windows, strict=True))
    )
    return Use(used, row["lately"], row["at_once"])


def reserve(
    db: Database,
    turn: Reserved,
    limits: Sequence[Limited],
    estimate: Estimate,
    base: int | None,
    now: float,
) -> Used:
    """Returns the estimate. `base` is the turn that this one goes on from. Raises `RateLimited`
    where one of the limits has no room for it."""
    for limited in limits:
        db.alone(SessionKey(limited.of, limited.name, "spending"))
    expected = estimate(_base(db, base))
    for limited in limits:
        _check(db, limited, expected, now)
    if turn.id % _TIDIES == 0:
        _sum_up(db, turn.client, turn.provider, now)
    _insert(db, turn.id, turn.client, turn.provider, now, now + turn.lasts, expected)
    return expected


def settle(db: Database, turn: Reserved, used: Used | None) -> None:
    """It has ended; None where it has used nothing, and so has not begun."""
    if used is None:
        db.execute("DELETE FROM spending WHERE id = :id", {"id": turn.id})
        return
    sql = "UPDATE spending SET cost_usd = :cost, tokens = :tokens, until = NULL WHERE id = :id"
    db.execute(sql, {"id": turn.id, "cost": used.cost_usd, "tokens": used.tokens})


def _column(budget: Budget) -> str:
    return "cost_usd" if budget.tokens is None else "tokens"


def _base(db: Database, turn: int | None) -> tuple[str, Usage] | None:
    sql = f"SELECT {READ} FROM turns WHERE id = :id"
    row = None if turn is None else first(db, sql, {"id": turn})
    return None if row is None else (row["model"], usage(row))


def _insert(
    db: Database,
    id_: int,
    client: str,
    provider: str,
    started_at: float,
    until: float | None,
    used: Used,
) -> None:
    row = {
        "id": id_,
        "client": client,
        "provider": provider,
        "started_at": started_at,
        "until": until,
        "cost_usd": used.cost_usd,
        "tokens": used.tokens,
    }
    db.execute(insert_sql("spending", row), row)


def _check(db: Database, limited: Limited, expected: Used, now: float) -> None:
    known, allowance = use(db, limited, now), limited.allowance
    full = [budget for budget in known.budgets if not budget.has_room_for(expected)]
    if full:
        raise _over(limited, _last_to_end(full, expected), expected, now)
    who = f"{limited.of.capitalize()} {limited.name}"
    most = allowance.turns_at_once
    if most is not None and known.at_once >= most:
        raise RateLimited(
            f"{who} has {_turns(known.at_once)} under way, and may have {most} at once; try again "
            "when one has ended.",
            of=limited.of,
            retry_after=_SOON,
        )
    most = allowance.turns_a_minute
    if most is not None and known.lately >= most:
        after = _until_room(db, limited, most, now)
        raise RateLimited(
            f"{who} has begun {_turns(known.lately)} within a minute, and may begin {most}; try "
            f"again in {after} s.",
            of=limited.of,
            retry_after=after,
        )


def _turns(count: int) -> str:
    return f"{count} turn{'' if count == 1 else 's'}"


def _last_to_end(full: Sequence[BudgetUse], expected: Used) -> BudgetUse:
    return max(full, key=lambda one: math.inf if not one.can_ever_hold(expected) else one.until)


def _over(limited: Limited, full: BudgetUse, expected: Used, now: float) -> OverBudget:
    per, needed = full.budget.per, amount(full.budget, full.of(expected))
    budget = f"The budget of {limited.of} {limited.name}, {amount(full.budget, full.limit)} a {per}"
    if not full.can_ever_hold(expected):
        why = (
            f"is less than the {needed} that this turn may use; allow it a shorter answer, or have "
            "the budget raised."
            if full.limit
            else "lets no turn begin; have it raised."
        )
        return OverBudget(f"{budget}, {why}", of=limited.of, retry_after=None)
    ends = datetime.fromtimestamp(full.until, UTC)
    return OverBudget(
        f"{budget}, has {amount(full.budget, full.left)} left, and this turn may use {needed}. "
        f"The next {per} begins at {ends:%Y-%m-%d %H:%M} UTC.",
        of=limited.of,
        retry_after=_seconds(full.until - now),
    )


def amount(budget: Budget, number: float) -> str:
    """For people, in the budget's unit."""
    if budget.tokens is not None:
        return f"{number:,.0f} tokens"
    # Not "0.00", which is nothing.
    return f"{number:,.2f} USD" if number >= 0.01 or not number else f"{number:.6f} USD"


def _until_room(db: Database, limited: Limited, most: int, now: float) -> int:
    """Until the turn has left the last minute without which there would be room."""
    sql = f"""
        SELECT started_at FROM spending WHERE {limited.of} = :name AND started_at > :earliest
        AND started_at <= :latest ORDER BY started_at DESC LIMIT 1 OFFSET {most - 1}
    """
    minute = {"earliest": now - _MINUTE, "latest": now + _MINUTE}
    row = first(db, sql, {"name": limited.name, **minute})
    return _seconds((row["started_at"] if row else now) + _MINUTE - now)


def _seconds(until: float) -> int:
    return max(1, math.ceil(until))


def _sum_up(db: Database, client: str, provider: str, now: float) -> None:
    """Those of a day become one row, at its beginning, where all windows begin: who asks for sums
    reads few. What no window reaches stays as it is: of a clock that is ahead one may yet."""
    sql = """
        DELETE FROM spending WHERE client = :client AND provider = :provider
        AND started_at >= :after AND started_at < :before AND (until IS NULL OR until < :before)
        RETURNING started_at, cost_usd, tokens
    """
    whose = {"client": client, "provider": provider, "after": now - _REACHED}
    days: defaultdict[float, list[Mapping[str, Any]]] = defaultdict(list)
    for row in list(db.query(sql, {**whose, "before": now - _SETTLED})):
        days[window("day", row["started_at"])[0]].append(row)
    for day, rows in days.items():
        sums = Used(sum(row["cost_usd"] for row in rows), sum(int(row["tokens"]) for row in rows))
        _insert(db, randbits(62), client, provider, day, None, sums)
