"""Fetches the images and documents that a client gives by URL, so that the model gets their bytes.

Whoever writes a prompt names the URL, so only public addresses are asked: a name is resolved here,
and the connection is made to the very addresses that were checked. Redirects go the same way.
Nothing of the client's is sent along, and an error names the host alone: paths hold tokens, too.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import socket
import ssl
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, cast
from urllib.parse import quote, urljoin, urlsplit

import httpcore2

from sessionbridge.errors import BadRequest
from sessionbridge.model import Block, Message, Plan
from sessionbridge.names import printable

# For debugging it logs whole URLs, and with them their tokens.
logging.getLogger("httpcore2").setLevel(logging.WARNING)

Address = IPv4Address | IPv6Address
Given = tuple[str, str]
"""An image or a document, and its URL."""

Source = Mapping[str, str]
Sources = Mapping[Given, Source]
"""What to give the model in the place of the URLs."""

_MB = 1024 * 1024
_TO_CONNECT = 3.0
"""Seconds to connect to one of several addresses."""

_MOST_REDIRECTS = 5
_AT_ONCE = 10
_MOST = 100
"""What the API takes in one request; these and the megabytes below are its own limits."""

_MOST_TOGETHER = 32
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE = 3 * 256 * 1024
"""Bytes that are encoded at a time; three make four characters."""

_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
"""All that is given out to hosts of the internet (IANA, "IPv6 Global Unicast Address Space")."""
_SPECIAL = (
    # Of the internet by Python 3.13's `is_global`, at least in part, and by IANA's registries of
    # special-purpose addresses for no host that serves pages: protocol assignments, relays of 6to4,
    # and documentation.
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
)
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The third quarter of an IPv6 address whose last one is an address of IPv4 (RFC 5214)."""
_OF_THE_HOST = frozenset({IPv4Address("168.63.129.16")})
"""Public by its number, and yet a service of the machine's own host (Azure)."""

_FAILURES = (
    OSError,
    ValueError,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the API takes by URL (https://docs.anthropic.com/en/docs/build-with-claude/vision,
    https://docs.anthropic.com/en/docs/build-with-claude/pdf-support)."""

    megabytes: int
    media_types: tuple[str, ...]


_KINDS = {
    "image": _Kind(5, ("image/jpeg", "image/png", "image/gif", "image/webp")),
    "document": _Kind(32, ("application/pdf",)),
}


_BEGINS = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "application/pdf": re.compile(rb".{0,1019}?%PDF-", re.DOTALL),
}
"""How content of each type begins (https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern);
before a PDF there may be other bytes, so long as its mark is within the first 1,024, as readers of
PDF take it."""


@dataclass(frozen=True, slots=True)
class _Content:
    media_type: str
    body: bytes


class _Unusable(Exception):
    """Says why, in words that go into a sentence of `BadRequest`."""


def is_public(address: Address) -> bool:
    """An IPv6 address that stands for one of IPv4 is judged as that one."""
    if isinstance(address, IPv6Address):
        if (held := _held(address)) is not None:
            return is_public(held)
        if address not in _UNICAST:
            return False
    if address in _OF_THE_HOST or any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _held(address: IPv6Address) -> IPv4Address | None:
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64 or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return last
    return address.ipv4_mapped


def given_by_url(messages: Iterable[Message]) -> frozenset[Given]:
    return frozenset(found for m in messages for block in m.blocks for found in _in(block))


def with_sources(plan: Plan, sources: Sources) -> Plan:
    """The plan as it is given to the model; all else about it is as the client wrote it."""
    if not sources:
        return plan
    feed = tuple(_message(message, sources) for message in plan.feed)
    return replace(plan, feed=feed, ask=_message(plan.ask, sources))


class _Room:
    """How many bytes may still come in for one turn, all URLs together."""

    def __init__(self) -> None:
        self._left = _MOST_TOGETHER * _MB

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _Unusable(f"with the others it is larger than {_MOST_TOGETHER} MB")


class WebContent:
    """`allowed` says which addresses may be connected to. One URL may take `patience` seconds, with
    all its redirects."""

    def __init__(
        self, allowed: Callable[[Address], bool] = is_public, patience: float = 20.0
    ) -> None:
        self._network = _CheckedNetwork(allowed)
        self._patience = patience
        self._trusted: ssl.SSLContext | None = None

    async def sources(self, plan: Plan) -> Sources:
        """Of all that the plan gives by URL, each fetched once. Raises `BadRequest`."""
        wanted = sorted(given_by_url((*plan.feed, plan.ask)))
        if not wanted:
            return {}
        if len(wanted) > _MOST:
            raise BadRequest(
                f"{len(wanted)} images and documents are given by URL, and at most {_MOST} can be "
                "fetched for a turn; send fewer of them."
            )
        if self._trusted is None:
            self._trusted = await asyncio.to_thread(httpcore2.default_ssl_context)  # reads files
        places, room = asyncio.Semaphore(_AT_ONCE), _Room()
        try:
            async with asyncio.TaskGroup() as group:
                fetching = [
                    group.create_task(self._source(given, places, room)) for given in wanted
                ]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return {given: task.result() for given, task in zip(wanted, fetching, strict=True)}

    async def _source(self, given: Given, places: asyncio.Semaphore, room: _Room) -> Source:
        kind, url = given
        try:
            async with places, asyncio.timeout(self._patience):
                content = await self._content(url, _KINDS[kind], room)
        except _Unusable as error:
            raise _refused(kind, url, str(error)) from None
        except TimeoutError:
            raise _refused(kind, url, f"it took longer than {self._patience:g} s") from None
        data = await in_base64(content.body)
        return {"type": "base64", "media_type": content.media_type, "data": data}

    async def _content(self, url: str, kind: _Kind, room: _Room) -> _Content:
        for _ in range(_MOST_REDIRECTS + 1):
            found = await self._get(_checked(url), kind, room)
            if isinstance(found, _Content):
                return found
            url = _joined(url, found)
        raise _Unusable(f"it redirects more than {_MOST_REDIRECTS} times")

    async def _get(self, url: str, kind: _Kind, room: _Room) -> _Content | str:
        """What is there, or the URL it redirects to."""
        asked: dict[bytes | str, bytes | str] = {
            "Accept": ", ".join(kind.media_types),
            "Accept-Encoding": "identity",
            "User-Agent": "mitmproxy-sessionbridge",
        }
        try:
            async with (
                httpcore2.AsyncConnectionPool(self._trusted, network_backend=self._network) as pool,
                pool.stream("GET", url, headers=asked) as response,
            ):
                headers = {k.lower(): v.decode("latin-1") for k, v in response.headers}
                if response.status in _REDIRECTS and b"location" in headers:
                    return headers[b"location"]
                told = _media_type(response.status, headers, kind)
                body = await _body(response, kind, room)
                return _Content(_true_type(body, told, kind), body)
        except _FAILURES as error:
            why = f"its server could not be reached ({type(error).__name__})"
            raise _Unusable(why) from None


class _CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Asked for every connection, also to a host that is an address already."""

    def __init__(self, allowed: Callable[[Address], bool]) -> None:
        self._allowed = allowed
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the interface has it
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        *others, last = await self._addresses(host, port)
        for address in others:
            try:
                return await self._network.connect_tcp(address, port, _TO_CONNECT)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._network.connect_tcp(last, port, timeout)

    async def _addresses(self, host: str, port: int) -> list[str]:
        """At least one."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        named = [str(place[0]) for *_, place in found]
        allowed = [address for address in named if self._allowed(ip_address(address))]
        if not allowed:
            raise _Unusable("it is not at a public address")
        return allowed


def _in(block: Block) -> Iterator[Given]:
    match block:
        case {"type": "image" | "document" as kind, "source": {"type": "url", "url": str(url)}}:
            yield kind, url
        case {"type": "tool_result", "content": list(parts)} | {
            "type": "document",
            "source": {"type": "content", "content": list(parts)},
        }:
            for part in parts:
                yield from _in(part)


def _message(message: Message, sources: Sources) -> Message:
    return replace(message, blocks=tuple(_block(block, sources) for block in message.blocks))


def _block(block: Block, sources: Sources) -> Block:
    match block:
        case {"type": "image" | "document" as kind, "source": {"type": "url", "url": str(url)}}:
            return _with(block, source=sources[kind, url])
        case {"type": "tool_result", "content": list(parts)}:
            return _with(block, content=[_block(part, sources) for part in parts])
        case {
            "type": "document",
            "source": {"type": "content", "content": list(parts), **more},
        }:
            inner = [_block(part, sources) for part in parts]
            return _with(block, source={"type": "content", "content": inner, **more})
    return block


def _with(block: Block, **news: Any) -> Block:
    return cast("Block", {**block, **news})


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname)
        # A URL as people write it; HTTP has neither spaces nor letters beyond ASCII in it.
        written = quote(parts.geturl(), safe=string.punctuation)
    except ValueError:
        raise _Unusable("its URL cannot be read") from None
    if parts.scheme not in ("http", "https") or not has_host:
        raise _Unusable("its URL is not one of http or https")
    if "@" in parts.netloc:
        raise _Unusable("its URL holds a user name or password")
    return written


def _joined(url: str, to: str) -> str:
    try:
        return urljoin(url, to)
    except ValueError:
        raise _Unusable("it redirects to a URL that cannot be read") from None


def _true_type(body: bytes, told: str, kind: _Kind) -> str:
    """Servers tell a wrong type now and then, and the API refuses what is not what it is told."""
    for media_type in (told, *kind.media_types):
        if _BEGINS[media_type].match(body):
            return media_type
    known = " or ".join(kind.media_types)
    raise _Unusable(f"what is there is not {known}, though its server says {told}")


def _media_type(status: int, headers: Mapping[bytes, str], kind: _Kind) -> str:
    if status != 200:
        raise _Unusable(f"its server answered with status {status}")
    if headers.get(b"content-encoding", "identity").lower() != "identity":
        raise _Unusable("its server sent it compressed, unasked")
    media_type = headers.get(b"content-type", "").partition(";")[0].strip().lower()
    if media_type not in kind.media_types:
        raise _Unusable(f"its Content-Type is not {' or '.join(kind.media_types)}")
    return media_type


async def _body(response: httpcore2.Response, kind: _Kind, room: _Room) -> bytes:
    body = bytearray()
    try:
        async for part in response.aiter_stream():
            body += part
            room.take(len(part))
            if len(body) > kind.megabytes * _MB:
                raise _Unusable(f"it is larger than {kind.megabytes} MB")
    except _FAILURES:
        raise _Unusable("it broke off") from None
    return bytes(body)


def _refused(kind: str, url: str, why: str) -> BadRequest:
    return BadRequest(
        f"The {kind} at {_host(url)} could not be fetched: {why}. Give the URL of another, "
        "or send its bytes as base64."
    )


def _host(url: str) -> str:
    try:
        return printable(urlsplit(url).hostname or "") or "this URL"
    except ValueError:
        return "this URL"


async def in_base64(content: bytes) -> str:
    """With pauses for other turns: a thread would keep the interpreter's lock until it is done."""
    parts: list[str] = []
    for start in range(0, len(content), _PIECE):
        parts.append(base64.b64encode(content[start : start + _PIECE]).decode())
        await asyncio.sleep(0)
    return "".join(parts)
