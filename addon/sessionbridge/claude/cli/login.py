"""Asks the Claude CLI whether it is logged in. No model is called and nothing is spent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from sessionbridge.claude.cli.installed import said


def find_cli(named: Path | None) -> Path | None:
    """The CLI the bridge would start: the one named, the SDK's own, or the one on the path."""
    if named is not None:
        return named if named.exists() else None
    # Found without an import, which takes more than a second.
    sdk = find_spec("claude_agent_sdk")
    bundled = Path(sdk.origin or "").parent / "_bundled" / "claude" if sdk else None
    if bundled is not None and bundled.exists():
        return bundled
    found = shutil.which("claude")
    return Path(found) if found else None


def is_logged_in(
    cli: Path, inherited: Mapping[str, str], extra: Mapping[str, str] | None = None
) -> bool:
    """What `claude auth status` says; a key, a token and a cloud's switch are logins, too, where
    they are in the `extra` environment. Raises OSError or `subprocess.TimeoutExpired` when it
    cannot be run, ValueError when what it says cannot be read."""
    status = json.loads(said(cli, inherited, "auth", "status", extra=extra))
    return isinstance(status, dict) and status.get("loggedIn") is True
