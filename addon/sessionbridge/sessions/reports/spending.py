"""What a client has used of its allowance, as a JSON document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sessionbridge.sessions.store.spending import BudgetUse, Limited, Use


def document(limited: Limited, use: Use) -> dict[str, Any]:
    """Rates that are not limited are null."""
    allowance = limited.allowance
    return {
        "name": limited.name,
        "budgets": [budget_document(budget) for budget in use.budgets],
        "rates": {
            "turns_a_minute": {"limit": allowance.turns_a_minute, "used": use.lately},
            "turns_at_once": {"limit": allowance.turns_at_once, "used": use.at_once},
        },
    }


def budget_document(use: BudgetUse) -> dict[str, Any]:
    return {
        "per": use.budget.per,
        "unit": use.budget.unit,
        "limit": use.limit,
        "used": use.used,
        "left": use.left,
        "resets_at": datetime.fromtimestamp(use.until, UTC).isoformat(timespec="seconds"),
    }
