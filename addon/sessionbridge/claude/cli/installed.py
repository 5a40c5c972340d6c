"""What is there of the Claude CLI before a turn is asked of it: its version, and its settings."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sessionbridge.claude.cli.environment import FIXED, is_allowed

RETENTION_DAYS = 30
"""How long the CLI keeps the transcript of a session that is not used, unless it is told."""

OLDEST = (2, 1, 257)
"""CLIs before 2.1.248 ignore the mark on our prompts, and a remote client could read local files;
those before this one cannot change a session's system prompt."""

_REDIRECTING = ("ANTHROPIC_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
"""Variables that could send the CLI's own calls back into the proxy, in either case."""

_PATIENCE = 20.0


def version(cli: Path, inherited: Mapping[str, str]) -> str:
    """For example `2.1.330`. Raises OSError or `subprocess.TimeoutExpired` when it cannot be run,
    ValueError when it says no version."""
    found = re.search(rb"\d+\.\d+\.\d+", said(cli, inherited, "--version"))
    if found is None:
        raise ValueError("it says no version")
    return found[0].decode()


def new_enough(version: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) >= OLDEST


def said(
    cli: Path, inherited: Mapping[str, str], *arguments: str, extra: Mapping[str, str] | None = None
) -> bytes:
    """What it prints, in the environment its turns will have, `extra` with it. Raises OSError or
    `subprocess.TimeoutExpired` when it cannot be run; how it ends does not matter."""
    allowed = {name: value for name, value in inherited.items() if is_allowed(name)}
    done = subprocess.run(
        [cli, *arguments],
        env=allowed | FIXED | dict(extra or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )
    return done.stdout


def settings_file(config_dir: Path) -> Path:
    return config_dir / "settings.json"


def settings(config_dir: Path) -> Mapping[str, Any]:
    """The user's own settings of Claude; empty where there are none. Raises ValueError for what is
    no JSON object, OSError for what cannot be read."""
    try:
        document = json.loads(settings_file(config_dir).read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    return document


def redirecting(variables: Mapping[str, Any]) -> list[str]:
    """The names in it that would redirect the CLI, without those that are empty."""
    return sorted(
        name for name, value in variables.items() if value and name.upper() in _REDIRECTING
    )
