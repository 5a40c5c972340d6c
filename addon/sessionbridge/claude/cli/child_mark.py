"""What a CLI of the bridge's own shows with each request, so that none of them is bridged again.

It is a secret of the home, in a file for its owner alone: each proxy of one home knows the others'
CLIs by it, and those of a proxy that has ended.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sessionbridge.disk import make_once
from sessionbridge.errors import ClaudeFailed

CHILD_HEADER = "x-sessionbridge-child"
_NAME = "child-secret"
_BYTES = 24
_CHARACTERS = len(secrets.token_urlsafe(_BYTES))


def child_secret(home: Path) -> str:
    """That of a CLI which is about to be started; made with the first one. Raises OSError, and
    `ClaudeFailed` where something else is in its place."""
    file = home / _NAME
    if not file.exists():
        make_once(file, secrets.token_urlsafe(_BYTES))
    secret = file.read_text("ascii", "replace")
    if len(secret) != _CHARACTERS:
        raise ClaudeFailed(f"{file} does not hold what sessionbridge wrote there; delete it.")
    return secret


def is_child_secret(shown: str, home: Path) -> bool:
    """Whether it is that of this home's CLIs, if there has been one."""
    try:
        secret = child_secret(home) if (home / _NAME).exists() else ""
    except (OSError, ClaudeFailed):
        return False
    shown_bytes = shown.encode(errors="surrogateescape")
    return bool(secret) and secrets.compare_digest(shown_bytes, secret.encode())
