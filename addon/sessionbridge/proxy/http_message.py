"""What an HTTP message tells of itself: its headers by name, its body as JSON."""

from __future__ import annotations

import re

from mitmproxy import http

from sessionbridge.errors import BadRequest, HeadersTooLarge
from sessionbridge.names import shown
from sessionbridge.turns import content_coding
from sessionbridge.turns.loopback import MAX_HEAD

_MAX_HEAD = MAX_HEAD - 1024
"""Without what is added on the way to the loopback server."""

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # a line end folds a value


def decoded(message: http.Message, most: int = content_coding.MOST) -> bytes | None:
    """The body; None where there is none, where its coding cannot be undone, or where it is larger
    than `most` bytes then."""
    raw, coding = message.raw_content, message.headers.get("content-encoding", "")
    if raw is None:
        return None
    try:
        return content_coding.decoded(raw, coding, most)
    except ValueError:
        return None


def check_head(request: http.Request) -> None:
    """Raises `BridgeError` for what the loopback server would refuse too, but without a word."""
    fields = request.headers.fields
    size = len(request.data.path) + sum(len(name) + len(value) + 4 for name, value in fields)
    if size > _MAX_HEAD:
        raise HeadersTooLarge(
            f"The headers of this request have {size:,} bytes, and at most {_MAX_HEAD:,} are "
            "taken; send fewer, or shorter ones."
        )
    coding = request.headers.get("transfer-encoding", "chunked")
    if coding.strip().lower() != "chunked":
        raise BadRequest(f"transfer-encoding: {shown(coding)} is not taken; use chunked alone.")
    for name, value in fields:
        if _CONTROL.search(value):
            field = shown(name.decode(errors="replace"))
            raise BadRequest(f"The header {field} holds a control character; send it without.")


def lowered(headers: http.Headers) -> dict[str, str]:
    """By name in lower case; the values of one name are joined, as mitmproxy joins them. Its own
    mapping walks all fields anew for each name that is looked up."""
    found: dict[str, list[str]] = {}
    for name, value in headers.items(multi=True):
        found.setdefault(name.lower(), []).append(value)
    return {name: ", ".join(values) for name, values in found.items()}
