"""What clients and providers have used of their budgets, for people to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sessionbridge.allowances import Allowance
from sessionbridge.sessions.store import clients
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.spending import BudgetUse, Limited, use

LISTED = 50
"""Where there may be more: those used most."""


@dataclass(frozen=True, slots=True)
class NamedBudget(BudgetUse):
    """That of the client, or the provider, of this name."""

    whose: Literal["client", "provider"]
    name: str


def budgets(db: Database, providers: Mapping[str, Allowance], now: float) -> list[NamedBudget]:
    """Of these providers, and of clients that are not revoked; those used most come first."""
    known = (client for client in clients.all_of_them(db) if client.revoked_at is None)
    limits = [
        *(Limited("client", client.name, client.rules) for client in known),
        *(Limited("provider", name, allowance) for name, allowance in providers.items()),
    ]
    found = [
        NamedBudget(one.budget, one.used, one.until, limited.of, limited.name)
        for limited in limits
        if limited.allowance.budgets
        for one in use(db, limited, now).budgets
    ]
    return sorted(found, key=lambda one: -one.share)
