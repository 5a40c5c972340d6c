"""What a bridged flow says about itself in mitmweb, mitmproxy and saved files."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mitmproxy import http

from sessionbridge.model import Usage
from sessionbridge.sessions.store.ledger import PASSED, PassedTurn
from sessionbridge.turns.exchange import Exchange

MARKER = ":link:"
METADATA = "sessionbridge"
OWN = "own"
"""The plan that is noted of a call by a Claude CLI of ours."""


def annotate(flow: http.HTTPFlow, exchange: Exchange) -> None:
    """Marker, one-line comment and metadata. Never a prompt or an answer. A WebSocket has several
    turns: what they used is told together, and all else of the last."""
    told = metadata(exchange)
    flow.marked = MARKER
    flow.comment = comment(exchange)
    if exchange.framed:
        told = _added(flow.metadata.get(METADATA) or {}, told)
        if told["turns"] > 1:
            in_all = f"{told['turns']} turns · ${told['cost_usd'] or 0:.4f}"
            flow.comment = f"{in_all} · the last: {flow.comment}"
    flow.metadata[METADATA] = told


def note_passed(flow: http.HTTPFlow, turn: PassedTurn) -> None:
    """The same for LLM traffic that passed through; it is not marked, because it is not ours."""
    used = _used(turn.model, turn.usage, turn.cost_usd, turn.duration_ms)
    flow.comment = " · ".join([PASSED, turn.host, *used])
    flow.metadata[METADATA] = {
        "api": turn.api,
        "plan": PASSED,
        "model": turn.model,
        "usage": turn.usage.counts,
        "cost_usd": turn.cost_usd,
        "duration_ms": turn.duration_ms,
    }


def note_own(flow: http.HTTPFlow) -> None:
    """A call of a Claude CLI of ours, which is counted in the turn that made it."""
    flow.comment = "the bridge's own Claude CLI"
    flow.metadata[METADATA] = {"plan": OWN}


def comment(exchange: Exchange) -> str:
    """For example `resume continued · openclaw · claude-opus-4-5 · in 10 out 42 cache 100+5 ·
    $0.0009 · 0.9 s`; cache is tokens read + tokens written."""
    outcome, origin = exchange.outcome, exchange.outcome.origin or exchange.origin
    parts = [f"{outcome.plan.name} {outcome.plan.reason}" if outcome.plan else "refused"]
    if outcome.node:
        parts = [f"answered by {outcome.node}"]
    parts.append(origin.platform if origin else "no origin")
    parts += _used(outcome.model, outcome.usage, outcome.cost_usd, outcome.duration_ms)
    if outcome.error:
        parts.append(f"error {outcome.error}")
    return " · ".join(parts)


def _used(
    model: str | None, usage: Usage | None, cost_usd: float | None, duration_ms: int
) -> list[str]:
    parts = [model] if model else []
    if usage:
        cache = f"{usage.cache_read_input_tokens}+{usage.cache_creation_input_tokens}"
        parts.append(f"in {usage.input_tokens} out {usage.output_tokens} cache {cache}")
    if cost_usd is not None:
        parts.append(f"${cost_usd:.4f}")
    if duration_ms:
        parts.append(f"{duration_ms / 1000:.1f} s")
    return parts


def metadata(exchange: Exchange) -> dict[str, Any]:
    """Plain values only: flow files keep nothing else. `fed` is how many messages the session was
    given before the one it was asked, `base` the entry of its transcript that they follow, `told`
    the settings that its process had to be told, which took `told_ms` milliseconds."""
    outcome, origin = exchange.outcome, exchange.outcome.origin or exchange.origin
    plan = outcome.plan
    return {
        "api": exchange.api,
        "platform": origin.platform if origin else None,
        "external_id": origin.external_id if origin else None,
        "plan": plan.name if plan else None,
        "reason": plan.reason if plan else None,
        "base": plan.base.entry_uuid if plan and plan.base else None,
        "fed": len(plan.feed) if plan else 0,
        "usage": outcome.usage.counts if outcome.usage else None,
        "told": list(outcome.told),
        "ignored": list(outcome.ignored),
        **{name: getattr(outcome, name) for name in _PLAIN},
    }


def _added(before: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    usage = Counter(before.get("usage") or {})
    usage.update(last["usage"] or {})
    costs = [cost for cost in (before.get("cost_usd"), last["cost_usd"]) if cost is not None]
    return {
        **last,
        "turns": before.get("turns", 0) + 1,
        "usage": dict(usage) or None,
        "cost_usd": sum(costs) if costs else None,
        "duration_ms": before.get("duration_ms", 0) + last["duration_ms"],
    }


_PLAIN = (
    "session",
    "command",
    "process",
    "told_ms",
    "model",
    "cost_usd",
    "ttft_ms",
    "duration_ms",
    "turn",
    "node",
    "provider",
    "error",
)
