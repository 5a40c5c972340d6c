"""What a bridged flow says about itself in mitmweb, mitmproxy and saved files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from mitmproxy import http

from sessionbridge.exchange import Exchange

MARKER = ":link:"
METADATA = "sessionbridge"

_KEPT_BYTES = 16 * 1024 * 1024


def annotate(flow: http.HTTPFlow, exchange: Exchange) -> None:
    """Marker, one-line comment and metadata. Never a prompt or an answer."""
    flow.marked = MARKER
    flow.comment = comment(exchange)
    flow.metadata[METADATA] = metadata(exchange)


def comment(exchange: Exchange) -> str:
    """For example `resume continued · openclaw · claude-opus-4-5 · in 10 out 42 cache 100+5 ·
    $0.0009 · 0.9 s`; cache is tokens read + tokens written."""
    outcome, origin = exchange.outcome, exchange.outcome.origin or exchange.origin
    parts = [f"{outcome.plan.name} {outcome.plan.reason}" if outcome.plan else "refused"]
    parts.append(origin.platform if origin else "no origin")
    if outcome.model:
        parts.append(outcome.model)
    if usage := outcome.usage:
        cache = f"{usage.cache_read_input_tokens}+{usage.cache_creation_input_tokens}"
        parts.append(f"in {usage.input_tokens} out {usage.output_tokens} cache {cache}")
    if outcome.cost_usd is not None:
        parts.append(f"${outcome.cost_usd:.4f}")
    if outcome.duration_ms:
        parts.append(f"{outcome.duration_ms / 1000:.1f} s")
    if outcome.error:
        parts.append(f"error {outcome.error}")
    return " · ".join(parts)


def metadata(exchange: Exchange) -> dict[str, Any]:
    """Plain values only: flow files keep nothing else."""
    outcome, origin = exchange.outcome, exchange.outcome.origin or exchange.origin
    return {
        "api": exchange.api,
        "platform": origin.platform if origin else None,
        "external_id": origin.external_id if origin else None,
        "plan": outcome.plan.name if outcome.plan else None,
        "reason": outcome.plan.reason if outcome.plan else None,
        "usage": asdict(outcome.usage) if outcome.usage else None,
        "ignored": list(outcome.ignored),
        **{name: getattr(outcome, name) for name in _PLAIN},
    }


_PLAIN = (
    "session",
    "command",
    "model",
    "cost_usd",
    "ttft_ms",
    "duration_ms",
    "turn",
    "error",
)


def keep_stream(flow: http.HTTPFlow) -> Callable[[bytes], bytes]:
    """A stream function that changes nothing and shows the body in the flow once it has ended;
    mitmproxy itself drops streamed bodies. Very long ones are not kept."""
    kept: list[bytes] = []
    size = 0

    def tap(data: bytes) -> bytes:
        nonlocal size
        size += len(data)
        kept.append(data)
        if size > _KEPT_BYTES:
            kept.clear()
        elif not data and flow.response is not None:
            flow.response.raw_content = b"".join(kept)
            kept.clear()
        return data

    return tap
