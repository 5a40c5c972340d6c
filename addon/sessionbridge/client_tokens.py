"""The token that a client is known by: `sk-sessionbridge-<id>-<secret>`.

It begins as programs expect a key to. The id tells which row to look at, and the secret has 256
bits, so a plain hash of the whole is all that is kept: nobody can guess what it is the hash of.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

PREFIX = "sk-sessionbridge-"

_TOKEN = re.compile(rf"{PREFIX}([0-9a-f]{{8}})-[A-Za-z0-9_-]{{43}}")
_IN_BYTES = re.compile(rb"%s[A-Za-z0-9_-]*" % PREFIX.encode())
_REDACTED = PREFIX.encode() + b"redacted"


class Token(NamedTuple):
    """What may be kept of one. The `id` is empty where it is no token of ours."""

    id: str
    hash: str


def made() -> tuple[str, Token]:
    """A new one, and what is kept of it."""
    text = f"{PREFIX}{secrets.token_hex(4)}-{secrets.token_urlsafe(32)}"
    return text, token(text)


def token(text: str) -> Token:
    """Of whatever was sent as one."""
    found = _TOKEN.fullmatch(text)
    hashed = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return Token(found[1] if found else "", hashed)


def redacted(text: bytes) -> bytes | None:
    """A path or header without what begins like a token; None where nothing does."""
    if b"%" in text and PREFIX.encode() in (plain := unquote_to_bytes(text)):
        # Before it is looked for as it is: a part of it alone may be spelled so.
        return quote_from_bytes(_IN_BYTES.sub(_REDACTED, plain), safe="/?&=;:,@+").encode()
    return _IN_BYTES.sub(_REDACTED, text) if PREFIX.encode() in text else None
