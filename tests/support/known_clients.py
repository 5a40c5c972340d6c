"""Clients that a home knows."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sessionbridge.allowances import ClientRules
from sessionbridge.client_tokens import made
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore


def add_client(home: Path, name: str = "ann", rules: ClientRules | None = None) -> str:
    """Returns its token."""
    text, token = made()
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        assert store.add_client(name, token, rules or ClientRules())
    return text
