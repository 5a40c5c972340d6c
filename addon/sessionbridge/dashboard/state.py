"""What goes on at this moment, which no ledger knows yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveTurn:
    """A turn under way, which may not be planned yet. `client` is empty where nobody is known by a
    token, `started_at` is epoch seconds; `ttft_ms` is 0 until the model has begun to answer."""

    client: str
    platform: str
    external_id: str
    api: str
    plan: str | None
    reason: str | None
    model: str | None
    started_at: float
    ttft_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """The turns under way, how many run and how many wait for room, and the processes there are."""

    turns: Sequence[LiveTurn]
    waiting: int
    running: int
    live: int
    spares: int
