"""Reads from a request how it was sent, for the first time, again, or to start over, and who is to
answer it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sessionbridge.model import Attempt
from sessionbridge.turns.exchange import Wanted
from sessionbridge.turns.naming import Named

_YES = {"1", "true", "yes"}
_CREDENTIALS = ("authorization", "x-api-key", "api-key")
"""The last is Azure's."""

_TRACE = ("traceparent", "tracestate")
_LONGEST = 512
"""https://www.w3.org/TR/trace-context/: so long a `tracestate` should be passed on."""


def attempt(headers: Mapping[str, str], client: str = "") -> Attempt:
    """`headers` are looked up by lower-case names.

    Libraries of the Stainless family count their retries in `x-stainless-retry-count` (seen on the
    wire). Keys and credentials are hashed: they are compared, never shown. A client's are its name,
    so that they outlive its token.
    """
    key = headers.get("idempotency-key", "").strip()
    credentials = next(filter(None, map(headers.get, _CREDENTIALS)), "")
    return Attempt(
        again=headers.get("x-stainless-retry-count", "0").strip() not in ("", "0"),
        key=_hashed(key) if key else None,
        anew=headers.get("x-sessionbridge-new", "").strip().lower() in _YES,
        caller=_hashed(client, b"client") if client else _hashed(credentials),
        client=client,
    )


def trace(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the headers that tell which trace a request is a part of, as far as they may be
    true."""
    told = {name: headers[name] for name in _TRACE if name in headers}
    return {it: text for it, text in told.items() if text.isascii() and len(text) <= _LONGEST}


def wanted(headers: Mapping[str, str], named: Named, model: str | None = None) -> Wanted:
    """`model` is the one that the address names, where an API has it there."""
    return Wanted(
        provider=headers.get("x-sessionbridge-provider", "").strip() or None,
        model=model or named.model,
        follows=named.response,
        conversation=named.conversation,
        fallback=headers.get("x-sessionbridge-fallback", "").strip().lower() != "none",
    )


def _hashed(text: str, kind: bytes = b"") -> str:
    """Of different kinds no two texts have the same."""
    told = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(told, digest_size=16, person=kind).hexdigest()
