"""What mitmproxy's own configuration file opens. What a proxy was started with is not seen here."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sessionbridge.claude.cli.environment import sets_a_secret
from sessionbridge.cli.checks.finding import Finding

_NAMES = ("config.yaml", "config.yml")
"""mitmproxy reads both, and what the second says wins."""

_CHECK = "Other machines"

_CLAUDE_ENV = "sessionbridge_claude_env"


def check_config(confdir: Path) -> list[Finding]:
    files = _files(confdir)
    try:
        read = [_read(path) for path in files]
    except (OSError, ValueError, YAMLError) as error:
        found = f"{' or '.join(map(str, files))} cannot be read ({type(error).__name__})"
        return [Finding(_CHECK, "warning", found, "Correct it; it is to be YAML.")]
    secrets = [_check_mode(path, options) for path, options in zip(files, read, strict=True)]
    return [_check_remote(confdir, read), *(finding for finding in secrets if finding)]


def claude_env(confdir: Path) -> list[str]:
    """What the proxy's option `sessionbridge_claude_env` is there."""
    found: list[str] = []
    try:
        for options in (_read(path) for path in _files(confdir)):
            found = _claude_env(options) if _CLAUDE_ENV in options else found
    except (OSError, ValueError, YAMLError):
        return []  # which `check_config` tells
    return found


def _files(confdir: Path) -> list[Path]:
    return [path for path in (confdir / name for name in _NAMES) if path.exists()]


def _claude_env(options: Mapping[str, Any]) -> list[str]:
    entries = options.get(_CLAUDE_ENV)
    listed = entries if isinstance(entries, list) else []
    return [entry for entry in listed if isinstance(entry, str)]


def _read(path: Path) -> Mapping[str, Any]:
    """Raises OSError, ValueError and `YAMLError`."""
    read = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    if read is not None and not isinstance(read, dict):
        raise ValueError
    return read or {}


def _check_remote(confdir: Path, read: list[Mapping[str, Any]]) -> Finding:
    option = "sessionbridge_allow_remote"
    said = [options[option] for options in read if option in options]
    if said and said[-1] is True:
        found = (
            f"{option} in {confdir} lets those that have a client's token use this machine's "
            "Claude login; tokens go over the network as they are, unless the proxy is reached by "
            "TLS"
        )
        advice = "See who has one: sessionbridge clients list"
        return Finding(_CHECK, "warning", found, advice)
    found = f"not let in by {confdir}; options that a proxy is started with are not seen here"
    return Finding(_CHECK, "ok", found)


def _check_mode(path: Path, options: Mapping[str, Any]) -> Finding | None:
    secret = any(map(sets_a_secret, _claude_env(options)))
    if not secret or not stat.S_IMODE(path.stat().st_mode) & 0o077:
        return None
    found = f"{path} holds a key or token, and other users may read it"
    return Finding("Secrets", "warning", found, f"chmod 600 {path}")
