"""The headers that are meant for the bridge: what passes on tells no API of them. One stays, which
a CLI of a bridge shows to whomever it asks: the next bridge on its way is to know it by that."""

from __future__ import annotations

from mitmproxy import http

from sessionbridge.claude.cli.child_mark import CHILD_HEADER
from sessionbridge.errors import BadRequest
from sessionbridge.names import printable

_PREFIX, _CHILD = b"x-sessionbridge-", CHILD_HEADER.encode()
_PROVIDER = "x-sessionbridge-provider"


def check_passing_turn(request: http.Request) -> None:
    """Raises `BadRequest` for one that says which provider is to answer, and so not the API."""
    headers = request.headers
    if headers.get(_PROVIDER, "").strip() and CHILD_HEADER not in headers:
        raise BadRequest(
            "X-SessionBridge-Provider: this request names no conversation of the bridge, and would "
            f"pass on to {printable(request.pretty_host)}: it was not sent. Name one, in "
            "X-SessionBridge-Session for example, or leave the header out."
        )


def take_out(headers: http.Headers) -> None:
    """The others stay as they came."""
    kept = tuple(field for field in headers.fields if not _is_own(field[0].lower()))
    if len(kept) < len(headers.fields):
        headers.fields = kept


def _is_own(name: bytes) -> bool:
    return name.startswith(_PREFIX) and name != _CHILD
