"""Turns of which nothing is kept but what they used: they failed, were refused or left by their
client after the model had begun to answer.

In the ledger such a turn has no session, no hashes, no ids and no turn before it, so that no
look-up by any of these takes it for one to go on from. Those that go by the key alone say `KEPT`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sessionbridge.model import Process, SessionKey, Usage

KEPT = "internal_id <> ''"
"""SQL that is true of the turns that a conversation can go on from. None has passed through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnkeptTurn:
    """`status` says what became of it: `failed`, `timed_out`, `left` or `refusal`. `usage` is as
    far as the API told, `cost_usd` an estimate; times are epoch seconds and milliseconds."""

    plan: str
    reason: str
    process: Process | None
    status: str
    api: str
    model: str
    usage: Usage
    cost_usd: float | None
    started_at: float
    ttft_ms: int | None
    duration_ms: int


def unkept_row(key: SessionKey, turn: UnkeptTurn) -> dict[str, Any]:
    columns = asdict(turn)
    used = columns.pop("usage")
    nothing = dict.fromkeys(("internal_id", "ask_hash", "history_hash", "tip_uuid"), "")
    return {**asdict(key), **nothing, **columns, **used}
