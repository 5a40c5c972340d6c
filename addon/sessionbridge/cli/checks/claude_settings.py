"""What the shell and Claude's own settings could do to the bridge: loops, and lost transcripts."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sessionbridge.claude.cli.installed import (
    RETENTION_DAYS,
    redirecting,
    settings,
    settings_file,
)
from sessionbridge.cli.checks.finding import Finding
from sessionbridge.sessions.store.sqlite.health import Health

_DAY = 86_400

_USER = f", uid {os.getuid()} if it is you," if hasattr(os, "getuid") else ""
_LED_HERE = (
    "In local, TUN and transparent mode the system may: there its calls are known by a mark, and "
    f"pass. The proxy's own are not: leave its user{_USER} out of a redirect"
)


def check_settings(
    config_dir: Path, environment: Mapping[str, str], health: Health | None
) -> list[Finding]:
    path = settings_file(config_dir)
    try:
        read = settings(config_dir)
    except (OSError, ValueError) as error:
        found = f"{path} cannot be read ({type(error).__name__})"
        unread = Finding("Claude settings", "warning", found, "Correct it; it is to be JSON.")
        return [unread, _check_loop({}, path, environment)]
    return [_check_loop(read, path, environment), _check_retention(read, path, health)]


def _check_loop(read: Mapping[str, Any], path: Path, environment: Mapping[str, str]) -> Finding:
    in_settings = read.get("env")
    named = redirecting(in_settings) if isinstance(in_settings, dict) else []
    shell = redirecting(environment)
    if named:
        found = (
            f"{', '.join(named)} in the env of {path}: the bridge's Claude reads no such settings, "
            "but a Claude Code of your own does and may call through the proxy"
        )
        return Finding("Loop guard", "warning", found, "Take it out unless you mean it to.")
    if shell:
        found = f"{', '.join(shell)} in this shell; the bridge's Claude does not get that"
    else:
        found = "nothing of this shell sends the bridge's Claude through the proxy"
    return Finding("Loop guard", "ok", f"{found}. {_LED_HERE}")


def _check_retention(read: Mapping[str, Any], path: Path, health: Health | None) -> Finding:
    told = read.get("cleanupPeriodDays")
    if told is not None and (not isinstance(told, (int, float)) or isinstance(told, bool)):
        found = f"cleanupPeriodDays in {path} is not a number"
        return Finding("Retention", "warning", found, "Make it a number of days.")
    days = RETENTION_DAYS if told is None else told
    found = f"Claude deletes transcripts not used for {days:g} days"
    if told is None:
        found += " (its default)"
    longer = f"Set cleanupPeriodDays in {path} to more days."
    unused = health.not_used_since(time.time() - days * _DAY) if health else 0
    if unused:
        found += f"; conversations in the map not used for longer: {unused}"
        advice = (
            "Each loses its memory, or is brought in from what its client sends. "
            f"{longer} Or clear the map: sessionbridge sessions prune --older-than {int(days)}d"
        )
        return Finding("Retention", "warning", found, advice)
    if days < RETENTION_DAYS:
        return Finding("Retention", "warning", found, longer)
    return Finding("Retention", "ok", found)
