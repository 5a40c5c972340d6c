"""What clients have used of their budgets, for people to see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sessionbridge.allowances import Budget, ClientRules, window
from sessionbridge.sessions.store.engine import Database


@dataclass(frozen=True, slots=True)
class ClientBudget:
    """`used` is in the budget's own unit, with what turns under way may still use; `until` is when
    the budget's day, week or month ends, in epoch seconds."""

    client: str
    budget: Budget
    used: float
    until: float

    @property
    def limit(self) -> float:
        usd, tokens = self.budget.usd, self.budget.tokens
        return (usd if tokens is None else tokens) or 0

    @property
    def share(self) -> float:
        """A budget of nothing is used up."""
        return self.used / self.limit if self.limit else 1.0


_CLIENTS_SQL = "SELECT name, rules FROM clients WHERE revoked_at IS NULL ORDER BY name"
_USED_SQL = """
    SELECT coalesce(sum(cost_usd), 0) AS usd, coalesce(sum(tokens), 0) AS tokens
    FROM spending WHERE client = :client AND started_at >= :begin
"""


def budgets(db: Database, now: float) -> list[ClientBudget]:
    """Of clients that are not revoked; those that are used most come first."""
    return sorted(_budgets(db, now), key=lambda one: -one.share)


def _budgets(db: Database, now: float) -> Iterator[ClientBudget]:
    for row in list(db.query(_CLIENTS_SQL, {})):
        for budget in ClientRules.model_validate_json(row["rules"]).budgets:
            begin, end = window(budget.per, now)
            (used,) = db.query(_USED_SQL, {"client": row["name"], "begin": begin})
            unit = "usd" if budget.tokens is None else "tokens"
            yield ClientBudget(row["name"], budget, float(used[unit]), end)
