"""An origin for clients that name no conversation: who calls, and how the conversation begins.

Two chats that begin alike share a key, and that is safe: the client holds the history, so they part
in the lineage where their messages do.
"""

from __future__ import annotations

import hashlib

from sessionbridge.model import Origin
from sessionbridge.sessions.planning.lineage import Link


def fingerprint(caller: str, first: Link) -> Origin:
    """`caller` is a hash of the credentials a request came with."""
    digest = hashlib.blake2b(f"{caller}/{first.hash}".encode(), digest_size=16)
    return Origin("fingerprint", digest.hexdigest(), "conversation", "client")
