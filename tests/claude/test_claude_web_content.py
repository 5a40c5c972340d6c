"""Images and documents by URL: what is fetched, what is refused, and that nothing private is asked.

The server is on loopback, which only `WebContent(allowed=…)` of a test lets be asked.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from mitmproxy.certs import CertStore

from sessionbridge.claude.web_content import Address, WebContent, in_base64, is_public, with_sources
from sessionbridge.errors import BadRequest
from sessionbridge.model import Block, FileBlock, Message, Plan, ToolResultBlock
from tests.support.claude_cli import say

MB = 1024 * 1024


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PNG = b"".join(
    [
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")),
        _chunk(b"IEND", b""),
    ]
)
BASE64 = {
    "type": "base64",
    "media_type": "image/png",
    "data": base64.b64encode(PNG).decode(),
}
Kind = Literal["image", "document"]
Page = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def response(
    body: bytes = PNG, media_type: str = "image/png", status: str = "200 OK", **headers: str
) -> bytes:
    told = {"Content-Length": str(len(body)), "Content-Type": media_type}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in told.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(to: str, status: str = "302 Found") -> bytes:
    return response(b"", status=status, Location=to)


class Web:
    """A server at 127.0.0.1 and 127.0.0.2. `heads` are those of the requests it got, in order."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.heads: list[str] = []
        self.writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def serve(self, path: str, page: Page) -> str:
        self.pages[path] = page
        return self.url(path)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with suppress(ConnectionError):  # the client has had enough
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            path = self.heads[-1].split()[1].partition("?")[0]
            page = self.pages.get(path, response(b"none", "text/plain", "404 Not Found"))
            if isinstance(page, bytes):
                writer.write(page)
                await writer.drain()
            else:
                await page(writer)
        writer.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    web = Web()
    first = await asyncio.start_server(web.answer, "127.0.0.1", 0, ssl=tls)
    web.port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(web.answer, "127.0.0.2", web.port, ssl=tls)
    try:
        yield web
    finally:
        for server in (first, second):
            server.close()
        for writer in web.writers:
            writer.close()
        for server in (first, second):
            await server.wait_closed()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving() as web:
        yield web


def at_first(address: Address) -> bool:
    return str(address) == "127.0.0.1"


def by_url(url: str, kind: Kind = "image") -> FileBlock:
    return {"type": kind, "source": {"type": "url", "url": url}}


def asking(*blocks: Block, feed: tuple[Message, ...] = ()) -> Plan:
    return Plan("fresh", "test", None, feed, Message("user", blocks))


async def fetched(
    url: str, kind: Kind = "image", patience: float = 20.0, allowed: Any = at_first
) -> Any:
    plan = asking(by_url(url, kind))
    sources = await WebContent(allowed, patience).sources(plan)
    return with_sources(plan, sources).ask.blocks[0]["source"]


async def test_the_model_is_given_the_bytes(web: Web) -> None:
    assert await fetched(web.serve("/a.png", response())) == BASE64
    pdf = web.serve("/a.pdf", response(b"%PDF-1.4", "Application/PDF; charset=binary"))
    assert await fetched(pdf, "document") == {
        "type": "base64",
        "media_type": "application/pdf",
        "data": base64.b64encode(b"%PDF-1.4").decode(),
    }


async def test_nothing_but_what_is_needed_is_sent(web: Web) -> None:
    web.serve("/%C3%BC%20.png", response())
    await fetched(web.url("/ü .png?token=a%2Fb#here"))
    line, *lines = web.heads[0].strip().split("\r\n")
    assert line == "GET /%C3%BC%20.png?token=a%2Fb HTTP/1.1"
    assert {name.partition(":")[0].lower() for name in lines} == {
        "accept",
        "accept-encoding",
        "host",
        "user-agent",
    }


async def test_each_url_is_fetched_once_wherever_it_stands(web: Web) -> None:
    image = by_url(web.serve("/a.png", response()))
    pdf = by_url(web.serve("/a.pdf", response(b"%PDF-1.4", "application/pdf")), "document")
    titled: FileBlock = {**pdf, "title": "T", "context": "C"}
    result: ToolResultBlock = {
        "type": "tool_result",
        "tool_use_id": "t",
        "is_error": True,
        "content": [image, pdf],
    }
    made: FileBlock = {
        "type": "document",
        "source": {"type": "content", "content": [image]},
        "title": "M",
    }
    text: Block = {"type": "text", "text": "see"}
    plan = asking(text, image, titled, feed=(Message("user", (result, made)),))

    told = with_sources(plan, await WebContent(at_first).sources(plan))

    assert len(web.heads) == 2
    data = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}
    shown, document = {**image, "source": BASE64}, {**pdf, "source": data}
    assert told.ask.blocks == (text, shown, {**titled, "source": data})
    assert told.feed[0].blocks == (
        {**result, "content": [shown, document]},
        {**made, "source": {"type": "content", "content": [shown]}},
    )
    assert plan.ask.blocks[1] == image, "the client's own words are changed"


async def test_what_has_no_urls_is_left_alone() -> None:
    plan = asking({"type": "image", "source": BASE64}, feed=(say("https://example.org/a.png"),))
    given = WebContent().sources(plan)
    with pytest.raises(StopIteration) as done:
        given.send(None)  # without a pause
    assert with_sources(plan, done.value.value) is plan


async def test_the_largest_image_is_taken_and_no_larger_one(web: Web) -> None:
    whole = b"\xff\xd8\xff" + b"\xff" * (5 * MB - 3)
    source = await fetched(web.serve("/most", response(whole, "image/jpeg")))
    assert base64.b64decode(source["data"]) == whole
    chunk = b"%x\r\n%b\r\n" % (MB, b"\xff" * MB)
    too_large = {
        "/told": response(whole + b"\xff", "image/jpeg"),
        "/chunked": response(b"", Content_Length="", Transfer_Encoding="chunked") + chunk * 6,
        "/endless": response(b"", Content_Length="") + whole + b"\xff",
    }
    for path, page in too_large.items():
        with pytest.raises(BadRequest, match="larger than 5 MB"):
            await fetched(web.serve(path, page))
    six = response(b"%PDF-" + b"\xff" * (6 * MB - 5), "application/pdf")
    assert len((await fetched(web.serve("/six", six), "document"))["data"]) == 8 * MB


@pytest.mark.parametrize(
    ("body", "told", "true"),
    [
        (PNG, "image/jpeg", "image/png"),
        (b"GIF89a", "image/png", "image/gif"),
        (b"RIFF\x04\0\0\0WEBP", "image/png", "image/webp"),
        (b"\xff\xd8\xff\xe0", "image/webp", "image/jpeg"),
    ],
)
async def test_an_image_is_what_it_is_whatever_its_server_says(
    web: Web, body: bytes, told: str, true: str
) -> None:
    source = await fetched(web.serve("/a.png", response(body, told)))
    assert source == {
        "type": "base64",
        "media_type": true,
        "data": base64.b64encode(body).decode(),
    }


GZIPPED = response(gzip.compress(b"\0" * 20 * MB), Content_Encoding="gzip")


@pytest.mark.parametrize(
    ("page", "kind", "why"),
    [
        (response(b"<html>", "text/html"), "image", "Content-Type is not image/jpeg or image/png"),
        (
            response(b"<html>", "image/png"),
            "image",
            "is not image/jpeg .*its server says image/png",
        ),
        (response(PNG, "application/pdf"), "document", "its server says application/pdf"),
        (response(media_type=""), "image", "Content-Type is not"),
        (response(media_type="image/svg+xml"), "image", "Content-Type is not"),
        (response(), "document", "Content-Type is not application/pdf"),
        (response(status="404 Not Found"), "image", "status 404"),
        (response(status="500 Oh"), "image", "status 500"),
        (response(b"", status="204 No Content", Content_Length=""), "image", "status 204"),
        (response(b"", status="302 Found"), "image", "status 302"),
        (GZIPPED, "image", "compressed"),
        (response(Content_Length="900"), "image", "broke off"),
        (response(Content_Length="many"), "image", "could not be reached"),
        (b"garbage\r\n\r\n", "image", "could not be reached"),
        (b"", "image", "could not be reached"),
    ],
)
async def test_what_is_no_such_thing_is_refused(web: Web, page: Page, kind: Kind, why: str) -> None:
    with pytest.raises(BadRequest, match=why) as refused:
        await fetched(web.serve("/secret-path", page) + "?secret=query", kind)
    message = refused.value.message
    assert message.startswith(f"The {kind} at 127.0.0.1 could not be fetched: ")
    assert message.endswith("Give the URL of another, or send its bytes as base64.")
    assert "secret" not in message and "html" not in message


async def test_a_server_that_takes_too_long_is_not_waited_for(web: Web) -> None:
    async def hangs(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def drips(writer: asyncio.StreamWriter) -> None:
        writer.write(response(Content_Length="100000"))
        while not writer.is_closing():
            await asyncio.sleep(0.01)
            writer.write(b"\0")
            await writer.drain()

    async def leads_on(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(redirect("/leads-on"))

    web.pages = {"/hangs": hangs, "/drips": drips, "/leads-on": leads_on}
    for path in web.pages:
        async with asyncio.timeout(5):
            with pytest.raises(BadRequest, match=r"it took longer than 0.3 s"):
                await fetched(web.url(path), patience=0.3)


async def test_redirects_are_followed_five_times(web: Web) -> None:
    for number, status in enumerate((301, 302, 303, 307, 308), 1):
        web.serve(f"/{number}", redirect(f"/{number + 1}", f"{status} There"))
    web.serve("/6", response())
    assert await fetched(web.url("/1")) == BASE64
    web.serve("/0", redirect(web.url("/1")))
    with pytest.raises(BadRequest, match="redirects more than 5 times"):
        await fetched(web.url("/0"))


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("http://127.0.0.2:{port}/a.png", "not at a public address"),
        ("//127.0.0.2:{port}/a.png", "not at a public address"),
        ("file:///etc/hostname", "not one of http or https"),
        ("http://ann:secret@127.0.0.1:{port}/a.png", "user name or password"),
        ("http://[::1", "cannot be read"),
    ],
)
async def test_a_redirect_leads_nowhere_that_a_url_may_not(web: Web, to: str, why: str) -> None:
    web.serve("/a.png", response())
    start = web.serve("/away", redirect(to.format(port=web.port)))
    with pytest.raises(BadRequest, match=why) as refused:
        await fetched(start)
    assert len(web.heads) == 1
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
    ],
)
async def test_this_machine_and_its_network_are_not_asked(web: Web, host: str) -> None:
    web.serve("/a.png", response())
    # Some spellings are not known everywhere; then there is nothing to connect to.
    with pytest.raises(BadRequest, match="not at a public address|could not be reached") as refused:
        await fetched(web.url("/a.png", host), allowed=is_public)
    assert web.heads == []
    if host in ("127.0.0.1", "localhost", "[::1]", "2130706433"):
        assert "not at a public address" in refused.value.message


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.org/a.png", "not one of http or https"),
        ("data:image/png;base64,AAAA", "not one of http or https"),
        ("file:///etc/hostname", "not one of http or https"),
        ("/a.png", "not one of http or https"),
        ("https://", "not one of http or https"),
        ("https://ann:secret@127.0.0.1/a.png", "user name or password"),
        ("https://[secret/a.png", "cannot be read"),
        ("https://127.0.0.1/\ud800", "cannot be read"),
        ("https://127.0.0.1:secret/", "could not be reached"),
    ],
)
async def test_a_url_is_of_the_web_and_holds_no_secret(url: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why) as refused:
        await fetched(url)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::101:101", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:a00:1::", False),
        ("2001:0:a00:1::", False),
        ("::10.0.0.1", False),
        ("fe80::1%1", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("192.0.0.9", False),
        ("192.88.99.1", False),
        ("168.63.129.16", False),
        ("::ffff:168.63.129.16", False),
        ("64:ff9b::c058:6301", False),
        ("2001:1::1", False),
        ("2001:4860:4860::8888", True),
        ("2002:808:808::1", False),
        ("3fff::1", False),
        ("4000::1", False),
        ("5f00::1", False),
        ("::8.8.8.8", False),
        ("2a00:1450::5efe:a00:1", False),
        ("2a00:1450::200:5efe:a00:1", False),
        ("2a00:1450::5efe:808:808", True),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertStore:
    return CertStore.from_store(tmp_path_factory.mktemp("ca"), "mitmproxy", 2048)


async def test_a_certificate_is_checked_by_the_name_in_the_url(
    authority: CertStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = authority.get_cert("localhost", [x509.DNSName("localhost")])
    pem = tmp_path / "server.pem"
    pem.write_bytes(key_in_pem(issued.privatekey) + issued.cert.to_pem())
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    async with serving(tls) as web:
        web.serve("/a.png", response())
        urls = [web.url("/a.png", host).replace("http", "https") for host in ("localhost", "127.1")]
        with pytest.raises(BadRequest, match="could not be reached"):
            await fetched(urls[0])
        (tmp_path / "ca.pem").write_bytes(authority.default_ca.to_pem())
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert await fetched(urls[0]) == BASE64
        with pytest.raises(BadRequest, match="could not be reached"):
            await fetched(urls[1])
    assert len(web.heads) == 1


def key_in_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


async def test_all_of_a_turn_together_have_a_limit(web: Web) -> None:
    pages = [web.serve(f"/{number}", response(bytes(5 * MB))) for number in range(7)]
    content = WebContent(at_first)
    with pytest.raises(BadRequest, match="with the others it is larger than 32 MB"):
        await content.sources(asking(*map(by_url, pages)))
    asked = len(web.heads)
    with pytest.raises(BadRequest, match="101 images and documents"):
        await content.sources(asking(*(by_url(f"{pages[0]}?{n}") for n in range(101))))
    assert len(web.heads) == asked


async def test_one_that_fails_ends_the_others(web: Web) -> None:
    async def hangs(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    plan = asking(by_url(web.serve("/hangs", hangs)), by_url(web.url("/nowhere")))
    async with asyncio.timeout(5):
        with pytest.raises(BadRequest, match="status 404"):
            await WebContent(at_first).sources(plan)


async def test_other_turns_go_on_while_megabytes_are_encoded() -> None:
    content = bytes(range(256)) * (30 * MB // 256)
    encoding = asyncio.create_task(in_base64(content))
    turns = 0
    while not encoding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 30
    assert base64.b64decode(await encoding) == content
