"""LLM traffic that passed through, as the ledger keeps it: what it used, and nothing that a turn of
the bridge could be taken for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sessionbridge.model import Usage

PASSED = "passthrough"
"""Its platform and its plan."""

BRIDGED = f"plan <> '{PASSED}'"
"""SQL that is true of the turns the bridge has answered itself."""


@dataclass(frozen=True, slots=True)
class PassedTurn:
    """One answer of another server. `status` is the API's own word for its end, `cost_usd` by list
    prices; times are epoch seconds and milliseconds."""

    host: str
    api: str
    model: str
    status: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    duration_ms: int


def passed_row(turn: PassedTurn) -> dict[str, Any]:
    return {
        "scope": PASSED,
        "external_id": turn.host,
        "provider": turn.host,
        "internal_id": "",
        "ask_hash": "",
        "history_hash": "",
        "tip_uuid": "",
        "plan": PASSED,
        "reason": "watched",
        "status": turn.status,
        "api": turn.api,
        "model": turn.model,
        **asdict(turn.usage),
        "cost_usd": turn.cost_usd,
        "started_at": turn.started_at,
        "duration_ms": turn.duration_ms,
    }
