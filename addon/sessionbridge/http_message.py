"""What an HTTP message tells of itself: its headers by name, its body as JSON."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import brotli  # type: ignore[import-untyped]  # it has no types
import zstandard
from mitmproxy import http
from pydantic_core import from_json

_LARGE_BODY = 1_000_000
"""Bytes; what takes longer than a few milliseconds is read on a thread."""


async def json_body(request: http.Request, headers: Mapping[str, str]) -> dict[str, Any] | None:
    """The request's body where it is a JSON object; what is wrong with any other is for the API
    shape to say, or for the real API."""
    # Decoded for reading only: the request may yet have to go on as it is.
    encoded = "content-encoding" in headers
    content = (request.get_content(strict=False) if encoded else request.raw_content) or b""
    try:
        if len(content) > _LARGE_BODY:
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


def decoded(message: http.Message, most: int) -> bytes | None:
    """The body; None where there is none, or where it is larger than `most` bytes once it is no
    longer compressed: a small one may become gigabytes, which mitmproxy's own decoding allows."""
    raw, encoding = message.raw_content, message.headers.get("content-encoding", "identity")
    if raw is None:
        return None
    try:
        body = _DECODERS[encoding.strip().lower()](raw, most + 1)
    except (KeyError, ValueError, zlib.error, brotli.error, zstandard.ZstdError):
        return None
    return body if len(body) <= most else None


def _inflated(raw: bytes, most: int) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(raw, most)  # 47: zlib's or gzip's header


def _brotli(raw: bytes, most: int) -> bytes:
    body: bytes = brotli.Decompressor().process(raw, output_buffer_limit=most)
    return body


def _zstd(raw: bytes, most: int) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(raw).read(most)


_DECODERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "identity": lambda raw, most: raw,
    "gzip": _inflated,
    "deflate": _inflated,
    "br": _brotli,
    "zstd": _zstd,
}


def is_event_stream(headers: http.Headers) -> bool:
    """From the fields themselves: every response that passes is asked, and the mapping's own
    look-up would cost it more than all of our other hooks."""
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in headers.fields
    )


def lowered(headers: http.Headers) -> dict[str, str]:
    """By name in lower case; the values of one name are joined, as mitmproxy joins them. Its own
    mapping walks all fields anew for each name that is looked up."""
    found: dict[str, str] = {}
    for name, value in headers.items(multi=True):
        name = name.lower()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
