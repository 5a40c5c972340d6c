"""What clients have used of their budgets, for people to see."""

from __future__ import annotations

from dataclasses import dataclass

from sessionbridge.sessions.store import clients
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.spending import BudgetUse, Limited, use


@dataclass(frozen=True, slots=True)
class ClientBudget(BudgetUse):
    client: str


def budgets(db: Database, now: float) -> list[ClientBudget]:
    """Of clients that are not revoked; those that are used most come first."""
    found = [
        ClientBudget(one.budget, one.used, one.until, client.name)
        for client in clients.all_of_them(db)
        if client.revoked_at is None
        for one in use(db, Limited("client", client.name, client.rules), now).budgets
    ]
    return sorted(found, key=lambda one: -one.share)
