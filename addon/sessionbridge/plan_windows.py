"""The windows in which the plan of a Claude login may be used: how much of one has been, as the API
has told it last, and what that comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

HOUR = 3600.0

SECONDS = {"5h": 5 * HOUR, "7d": 7 * 24 * HOUR}
"""How long each window is, by the name that the API's headers have for it."""


@dataclass(frozen=True, slots=True)
class PlanWindow:
    """`used` is a share, 1.0 of all there is; `status` is the API's own word. Times are epoch
    seconds. What the API has not told is None."""

    provider: str
    name: str
    status: str
    used: float | None
    resets_at: float | None
    told_at: float

    def is_open(self, now: float) -> bool:
        """Whether what was told still holds. Of the window that has begun since then nothing is
        known."""
        return self.resets_at is None or now < self.resets_at

    def document(self, now: float) -> dict[str, Any]:
        """As JSON names it. Where it has reset, only that: `used` and what comes of it is null."""
        is_open = self.is_open(now)
        return {
            "provider": self.provider,
            "window": self.name,
            "status": self.status,
            "used": self.used if is_open else None,
            "used_per_hour": self.used_per_hour if is_open else None,
            "full_at": self.full_at if is_open else None,
            "resets_at": self.resets_at,
            "told_at": self.told_at,
        }

    @property
    def holds(self) -> float:
        """Seconds after which what was told need not be so any more: a plan can be raised, and a
        window reset before its time. 15 minutes, or 8 hours and 24 minutes."""
        return SECONDS.get(self.name, math.inf) / 20

    @property
    def used_per_hour(self) -> float | None:
        """On average, from when the window began until this was told."""
        length = SECONDS.get(self.name)
        if self.used is None or self.resets_at is None or length is None:
            return None
        hours = (self.told_at - (self.resets_at - length)) / HOUR
        return self.used / hours if hours > 0 else None

    @property
    def full_at(self) -> float | None:
        """When all of it will have been used, if it goes on like that; None where it resets
        before."""
        rate = self.used_per_hour
        if not rate or self.used is None or self.resets_at is None:
            return None
        full = self.told_at + max(0.0, 1 - self.used) / rate * HOUR
        return full if full < self.resets_at else None
