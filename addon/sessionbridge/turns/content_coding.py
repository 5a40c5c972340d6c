"""Content codings of a body (RFC 9110, 8.4). Pure.

`Content-Encoding` names them in the order they were applied, so the last is undone first. A small
body may become gigabytes, which mitmproxy's own decoding allows: here there is a limit.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # it has no types

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST = 64 * 1024 * 1024
"""Bytes of a request, as it comes and once it is decoded: twice what the Messages API takes
(https://docs.anthropic.com/en/api/overview#request-size-limits), because a client may send again
what is in its session already."""


class UnknownCoding(ValueError):
    """A coding that is not known here; the text is what it was called."""


class TooLarge(ValueError):
    """The body has more bytes than it may have once it is decoded."""


class BadCoding(ValueError):
    """The body is not what its coding says; the text is the coding's name."""


def decoded(body: bytes, named: str, most: int) -> bytes:
    """The body without the codings that a `Content-Encoding` names; one that was cut short, as far
    as it goes. Raises a `ValueError` of this module where it cannot be had in `most` bytes."""
    codings = [name.strip().lower() for name in named.split(",")]
    for coding in reversed([name for name in codings if name]):
        if coding not in _DECODERS:
            raise UnknownCoding(coding)
        try:
            body = _DECODERS[coding](body, most + 1)
        except (ValueError, zlib.error, brotli.error, zstd.ZstdError) as error:
            raise BadCoding(coding) from error
        if len(body) > most:
            raise TooLarge
    if len(body) > most:
        raise TooLarge
    return body


def known() -> str:
    """The codings a client may use, as `Accept-Encoding` lists them."""
    return ", ".join(name for name in _DECODERS if not name.startswith("x-"))


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _all(new: Callable[[], _Decompressor], body: bytes, most: int) -> bytes:
    """One after another: gzip's members and zstd's frames may follow each other in one body."""
    parts: list[bytes] = []
    size = 0
    while body and size < most:
        part = new()
        parts.append(part.decompress(body, most - size))
        size += len(parts[-1])
        body = part.unused_data if part.eof else b""
    return b"".join(parts)


def _gzip(body: bytes, most: int) -> bytes:
    return _all(lambda: zlib.decompressobj(wbits=31), body, most)


def _deflate(body: bytes, most: int) -> bytes:
    """With zlib's header, as RFC 9110, 8.4.1.2 has it, or without, as it says some send it."""
    try:
        return zlib.decompressobj().decompress(body, most)
    except zlib.error:
        return zlib.decompressobj(wbits=-15).decompress(body, most)


def _brotli(body: bytes, most: int) -> bytes:
    whole: bytes = brotli.Decompressor().process(body, output_buffer_limit=most)
    return whole


def _zstd(body: bytes, most: int) -> bytes:
    return _all(zstd.ZstdDecompressor, body, most)


_DECODERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,  # to be read as gzip, RFC 9110, 8.4.1.3
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
    "identity": lambda body, most: body,
}
