"""What the CLI tells of the limits of a login, as the API tells it in its own headers. By key it
tells nothing (measured with 2.1.332)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sessionbridge.plan_windows import SECONDS, PlanWindow

if TYPE_CHECKING:  # it takes half a second to import, and the bridge needs this room before that
    from claude_agent_sdk import RateLimitEvent

Headers = tuple[tuple[str, str], ...]

_PREFIX = "anthropic-ratelimit-unified-"
# What the API's headers call the windows that the CLI spells out.
_WINDOWS = {"five_hour": "5h", "seven_day": "7d"}
_FIELDS = {
    "status": "status",
    "resetsAt": "reset",
    "rateLimitType": "representative-claim",
    "overageStatus": "overage-status",
    "overageResetsAt": "overage-reset",
    "overageDisabledReason": "overage-disabled-reason",
}
_NOTHING = [("status", "allowed")]
"""What the CLI says where the API has told nothing (measured with 2.1.332)."""

_OF_A_WINDOW = {"status": "status", "resetsAt": "reset", "utilization": "utilization"}


def limit_headers(event: RateLimitEvent) -> Headers:
    raw = event.rate_limit_info.raw
    windows = raw.get("unifiedWindows")
    told = [*_told(raw, _FIELDS)]
    for name, window in windows.items() if isinstance(windows, Mapping) else ():
        if name in _WINDOWS and isinstance(window, Mapping):
            short = _WINDOWS[name]
            told += [(f"{short}-{field}", value) for field, value in _told(window, _OF_A_WINDOW)]
    if told == _NOTHING:
        return ()
    return tuple((_PREFIX + field, value) for field, value in told)


def plan_windows(headers: Headers, provider: str, now: float) -> list[PlanWindow]:
    """The windows that these tell of. What the API leaves out of one is None, and its status
    `unknown`; `reset` is in epoch seconds, `utilization` a share."""
    told = {name.removeprefix(_PREFIX): value for name, value in headers}
    return [
        PlanWindow(
            provider=provider,
            name=name,
            status=told.get(f"{name}-status", "unknown"),
            used=_number(told.get(f"{name}-utilization")),
            resets_at=_number(told.get(f"{name}-reset")),
            told_at=now,
        )
        for name in SECONDS
        if any(field.startswith(f"{name}-") for field in told)
    ]


def _number(value: str | None) -> float | None:
    return float(value) if value and re.fullmatch(r"\d{1,12}(\.\d+)?", value, re.ASCII) else None


def seconds_until_reset(event: RateLimitEvent, now: float) -> int | None:
    """How long the login is at its limit; None where it is not, or the CLI has not told."""
    info = event.rate_limit_info
    if info.status != "rejected" or info.resets_at is None:
        return None
    return max(1, math.ceil(info.resets_at - now))


def _told(values: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, field in names.items():
        value = values.get(name)
        told = str(value) if isinstance(value, str | int | float) else ""
        if told and told.isascii() and told.isprintable():
            yield field, told
