"""What an HTTP message tells of itself: its headers by name, its body as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from mitmproxy import http
from pydantic_core import from_json

from sessionbridge.turns import content_coding

_LARGE_BODY = 1_000_000
"""Bytes; what takes longer than a few milliseconds is read on a thread."""


async def json_body(request: http.Request, headers: Mapping[str, str]) -> dict[str, Any] | None:
    """The request's body where it is a JSON object; what is wrong with any other is for the API
    shape to say, or for the real API.

    To find whose conversation it is, and for that alone. What is bridged is read once more by the
    API's shape, from the bytes that arrive at the loopback server: strictly, which this reader is
    not. It takes the last of two fields of one name, and NaN, so its result cannot stand for the
    other's; and the strict one takes eight times as long, for all that passes on as well.
    """
    content = request.raw_content or b""
    try:
        if "content-encoding" in headers:
            # For reading only: the request may yet have to go on as it is. Even a small body may
            # take a second.
            body = await asyncio.to_thread(lambda: _parsed(decoded(request) or b""))
        elif len(content) > _LARGE_BODY:
            body = await asyncio.to_thread(_parsed, content)
        else:
            body = _parsed(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _parsed(content: bytes) -> Any:
    """With pydantic's reader, which takes a third of the time. What only Python's own can read, a
    lone surrogate in some message for one, may name a conversation too."""
    try:
        return from_json(content)
    except ValueError:
        return json.loads(content)


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
