"""What an HTTP message tells of itself: its headers by name, its body as JSON."""

from __future__ import annotations

from mitmproxy import http

from sessionbridge.turns import content_coding


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


def lowered(headers: http.Headers) -> dict[str, str]:
    """By name in lower case; the values of one name are joined, as mitmproxy joins them. Its own
    mapping walks all fields anew for each name that is looked up."""
    found: dict[str, str] = {}
    for name, value in headers.items(multi=True):
        name = name.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
