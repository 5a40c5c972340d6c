"""Asks the Claude CLI whether it is logged in. No model is called and nothing is spent."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import claude_agent_sdk

from sessionbridge.claude.environment import FIXED, is_allowed

_PATIENCE = 20.0


def find_cli(named: Path | None) -> Path | None:
    """The CLI the bridge would start: the one named, the SDK's own, or the one on the path."""
    if named is not None:
        return named if named.exists() else None
    bundled = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
    if bundled.exists():
        return bundled
    found = shutil.which("claude")
    return Path(found) if found else None


def is_logged_in(cli: Path, inherited: Mapping[str, str], extra: Mapping[str, str]) -> bool:
    """What `claude auth status` says, in the environment its turns will have. Raises OSError when
    it cannot be run, ValueError when what it says cannot be read."""
    allowed = {name: value for name, value in inherited.items() if is_allowed(name)}
    done = subprocess.run(
        [cli, "auth", "status"],
        env=allowed | FIXED | dict(extra),
        capture_output=True,
        timeout=_PATIENCE,
        check=False,
    )
    status = json.loads(done.stdout)
    return isinstance(status, dict) and status.get("loggedIn") is True
