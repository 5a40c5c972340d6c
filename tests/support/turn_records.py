"""A turn as the bridge commits it, for tests to vary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.store.store import TurnRecord

KEY = SessionKey("goclaw", "agent:main:http:direct:ann", "claude")

GROUPS = {
    "day": {"day"},
    "client": {"client"},
    "platform": {"platform"},
    "user": {"client", "platform", "user"},
    "session": {"client", "platform", "session"},
    "model": {"model"},
    "provider": {"provider"},
}
"""What may follow `--by`, and the fields that then name a row."""


def turn(**changes: Any) -> TurnRecord:
    record = TurnRecord(
        key=KEY,
        internal_id="session-1",
        parent_id=None,
        ask_hash="ask",
        history_hash="history",
        tip_uuid="tip",
        response_id="msg_1",
        idempotency_key=None,
        plan="fresh",
        reason="first_turn",
        process="new",
        status="end_turn",
        api="anthropic",
        model="claude-opus-4-5",
        usage=Usage(10, 20, 30, 40),
        cost_usd=0.25,
        started_at=1_000_000.0,
        ttft_ms=300,
        duration_ms=900,
        points=(("ask", "entry-ask"), ("history", "tip")),
        metadata={"kind": "conversation"},
    )
    return replace(record, **changes)


def turn_named(name: str) -> TurnRecord:
    """One that shares no key, session or hash with that of another name."""
    return turn(
        key=SessionKey("goclaw", f"user-{name}", "claude"),
        internal_id=f"session-{name}",
        ask_hash=f"ask-{name}",
        history_hash=f"history-{name}",
        tip_uuid=f"tip-{name}",
        points=((f"ask-{name}", f"entry-{name}"), (f"history-{name}", f"tip-{name}")),
    )
