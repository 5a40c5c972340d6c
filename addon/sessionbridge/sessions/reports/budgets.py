"""What clients have used of their budgets, for people to see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.spending import Limited, use


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


def budgets(db: Database, now: float) -> list[ClientBudget]:
    """Of clients that are not revoked; those that are used most come first."""
    return sorted(_budgets(db, now), key=lambda one: -one.share)


def _budgets(db: Database, now: float) -> Iterator[ClientBudget]:
    for row in list(db.query(_CLIENTS_SQL, {})):
        rules = ClientRules.model_validate_json(row["rules"])
        for one in use(db, Limited("client", row["name"], rules), now).budgets:
            yield ClientBudget(row["name"], one.budget, one.used, one.until)
