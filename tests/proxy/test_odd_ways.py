"""Requests that are for the bridge, in forms that few clients send: none reaches another server."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.proxy.test_late_connections import SUCCEEDED
from tests.support.greeter import GREETING, greeter
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.raw_upstream import raw_upstream
from tests.support.scripted_api import ScriptedServer, user

ADDRESS = b"\xc6\x33\x64\x07"
"""198.51.100.7, where nobody is (RFC 5737)."""

ASKED = {"model": "gpt-5", "messages": [user("My name is Gil.")]}
BODY = json.dumps(ASKED).encode()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    modes = [f"{mode}@{free_port()}" for mode in ("regular", "socks5")]
    given = [part for mode in modes for part in ("--mode", mode)]
    with running_proxy(tmp_path_factory.mktemp("odd"), api.url, *given) as running:
        yield running


@pytest.fixture
def nobody_else(proxy: Proxy) -> Iterator[None]:
    before = len(proxy.recorded())
    yield
    seen = proxy.recorded()[before:]
    assert {line.get("server_connect", "127.0.0.1") for line in seen} == {"127.0.0.1"}


def head(host: str = "Host: api.openai.com", version: str = "1.1") -> bytes:
    lines = [f"POST /v1/chat/completions HTTP/{version}", host, "X-SessionBridge-Session: odd"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(BODY)}"]
    return "\r\n".join([*filter(None, lines), "", ""]).encode()


def answered(connection: socket.socket, *pieces: bytes) -> bytes:
    connection.sendall(pieces[0])
    for piece in pieces[1:]:
        time.sleep(0.05)  # so that they arrive one by one; whether they did changes no answer
        connection.sendall(piece)
    data = b""
    while b"\r\n\r\n" not in data or b"}" not in data.rpartition(b"\r\n\r\n")[2]:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


def by_name(proxy: Proxy) -> socket.socket:
    tunnel = socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=20)
    tunnel.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n")
    assert tunnel.recv(1000).startswith(b"HTTP/1.1 200")
    return tunnel


def by_address(proxy: Proxy, port: int, address: bytes = ADDRESS) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.ports[1]), timeout=20)
    connection.sendall(b"\x05\x01\x00")
    assert connection.recv(2) == b"\x05\x00"
    connection.sendall(b"\x05\x01\x00\x01" + address + port.to_bytes(2))
    assert connection.recv(10)[1] == SUCCEEDED
    return connection


def encrypted(proxy: Proxy, connection: socket.socket) -> ssl.SSLSocket:
    return proxy.tls().wrap_socket(connection, server_hostname="api.openai.com")


@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize(
    "pieces",
    [
        (b"\r\n" + head() + BODY,),
        (b"\n" + head() + BODY,),
        (b"PO", head()[2:] + BODY),
        (head()[:4], head()[4:] + BODY),
        (b"P", b"OST ", head()[5:] + BODY),
    ],
    ids=["behind a line", "behind half of one", "in a word", "behind a word", "in three"],
)
def test_a_request_that_is_not_seen_at_once(proxy: Proxy, pieces: Sequence[bytes]) -> None:
    with encrypted(proxy, by_name(proxy)) as named:
        assert b"Gil" in answered(named, *pieces)
    with by_address(proxy, 80) as bare:
        assert b"Gil" in answered(bare, *pieces)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    """Where the operator has chosen what is looked at, for this host and for others."""
    given = ["--allow-hosts", r"api\.openai\.com", "--ignore-hosts", "bank.example"]
    given += ["--tcp-hosts", "db.example"]
    for mode in ("regular", "socks5"):
        given += ["--mode", f"{mode}@{free_port()}"]
    with running_proxy(tmp_path_factory.mktemp("chosen"), api.url, *given) as running:
        yield running
        assert running.connected_hosts() <= {"127.0.0.1", "198.51.100.8"}


@pytest.mark.parametrize(
    "pieces",
    [(b"\r\n" + head() + BODY,), (b"P", b"OST ", head()[5:] + BODY)],
    ids=["behind a line", "in three"],
)
def test_nor_where_the_operator_chooses_what_is_looked_at(
    chosen: Proxy, pieces: Sequence[bytes]
) -> None:
    with encrypted(chosen, by_name(chosen)) as named:
        assert b"Gil" in answered(named, *pieces)
    with by_address(chosen, 80) as bare:
        assert b"Gil" in answered(bare, *pieces)


def test_what_is_not_to_be_looked_at_is_not(chosen: Proxy) -> None:
    with by_address(chosen, 80, b"\xc6\x33\x64\x08") as bare:
        bare.sendall(b"\r\n" + head("Host: bank.example") + BODY)
        assert bare.recv(100) == b""  # bare TCP, whose server is out of reach
    assert "198.51.100.8" in chosen.connected_hosts()


def encrypted_late(proxy: Proxy, connection: socket.socket, first: int) -> bytes:
    """The answer to a request by TLS, the first bytes of which come by themselves."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = proxy.tls().wrap_bio(incoming, outgoing, server_hostname="api.openai.com")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    connection.sendall(hello[:first])
    time.sleep(0.05)
    connection.sendall(hello[first:])
    said, is_asked = b"", False
    while b"Gil" not in said:
        data = connection.recv(65536)
        assert data, said
        incoming.write(data)
        try:
            if not is_asked:
                tls.do_handshake()
                is_asked = bool(tls.write(head() + BODY))
            while True:  # one piece of what has come may hold several of TLS
                said += tls.read(65536)
        except ssl.SSLWantReadError:
            pass
        connection.sendall(outgoing.read())
    return said


@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize("first", [1, 2])
def test_tls_that_is_not_seen_at_once(proxy: Proxy, first: int) -> None:
    for connection in (by_name(proxy), by_address(proxy, 443)):
        with connection:
            assert encrypted_late(proxy, connection, first)


@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize(
    "asked",
    [head("Host: localhost"), head("", "1.0"), head("Host: api.openai.com\r\nHost: localhost")],
    ids=["another host", "no host", "two"],
)
def test_by_address_the_name_of_the_handshake_counts(proxy: Proxy, asked: bytes) -> None:
    with encrypted(proxy, by_address(proxy, 443)) as connection:
        said = answered(connection, asked + BODY)
    assert b"Gil" in said or b"HTTP/1.1 400" in said or b"HTTP/1.0 400" in said


@pytest.mark.parametrize("host", ["localhost", "198.51.100.7"])
def test_by_address_it_counts_for_a_name_in_the_path_and_for_errors(
    proxy: Proxy, host: str
) -> None:
    before = len(proxy.recorded())
    unkeyed = head(f"Host: {host}").replace(b"X-SessionBridge-Session: odd\r\n", b"")
    with encrypted(proxy, by_address(proxy, 443)) as connection:
        named = unkeyed.replace(b"/v1", b"/s/pp/v1")
        assert b"Gil" in answered(connection, named + BODY)
    hosts = {line.get("server_connect", "127.0.0.1") for line in proxy.recorded()[before:]}
    assert hosts == {"127.0.0.1"}
    with encrypted(proxy, by_address(proxy, 443)) as connection:
        said = answered(connection, unkeyed.replace(b"chat/completions", b"embeddings") + BODY)
    assert said.startswith(b"HTTP/1.1 502") and b"application/json" in said


def test_a_client_that_has_connected_ahead_is_answered(proxy: Proxy) -> None:
    """The server it would have is connected to, for a second is long, and is not there."""
    with by_address(proxy, 80, b"\x7f\x00\x00\x01") as connection:
        before = len(proxy.recorded())
        deadline = time.monotonic() + 20
        while len(proxy.recorded()) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert b"Gil" in answered(connection, head() + BODY)


@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize(
    "path",
    [
        "/S/a/v1/chat/completions",
        "/%73/a/v1/chat/completions",
        "/./s/a/v1/chat/completions",
        "/x/../s/a/v1/chat/completions",
        "/s/a/s/b/v1/chat/completions",
        "/v1/s/a/v1/chat/completions",
        "/v1/s/a/chat/completions",
        "/v1/s/a%2Fb/v1/chat/completions",
        "/s/a/b/v1/chat/completions",
        "/s/a/b/c/chat/completions?x=/v1",
        "/s/a/%20/v1/chat/completions",
        "/s/a/b/v1/responses/compact",
        "/s;x/a/v1/chat/completions",
        "/s\\a\\v1/chat/completions",
        "/%2573/a/v1/chat/completions",
    ],
)
def test_a_name_in_the_address_that_is_spelled_otherwise_is_refused(
    proxy: Proxy, path: str
) -> None:
    lines = [f"POST {path} HTTP/1.1", "Host: api.openai.com", f"Content-Length: {len(BODY)}"]
    asked = "\r\n".join([*lines, "", ""]).encode() + BODY
    with encrypted(proxy, by_name(proxy)) as connection:
        said = answered(connection, asked)
    assert said.startswith(b"HTTP/1.1 400") and b"as in /s/my-chat/v1" in said


NAMED = json.dumps({**ASKED, "session_id": "odd-body"}).encode()


@pytest.mark.usefixtures("nobody_else")
@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (NAMED.replace(b"is Gil", b"is\nGil"), ""),
        (NAMED[:-1] + b",}", ""),
        (NAMED.replace(b"Gil", b"\xff"), ""),
        (gzip.compress(NAMED) + b"ab", "gzip"),
        (NAMED, "gzip"),
        (NAMED, "unheard-of"),
    ],
    ids=["line end", "comma", "bytes", "more behind it", "not coded", "unknown coding"],
)
def test_a_body_that_may_name_a_conversation_and_cannot_be_read(
    proxy: Proxy, body: bytes, coding: str
) -> None:
    headers = {
        "content-type": "application/json",
        **({"content-encoding": coding} if coding else {}),
    }
    answer = proxy.http().post(
        "https://api.openai.com/v1/chat/completions", headers=headers, content=body
    )
    assert answer.status_code == 400, answer.text
    assert "may name a conversation" in answer.json()["error"]["message"]


def test_one_that_names_none_passes(proxy: Proxy) -> None:
    answer = proxy.http().post("https://api.openai.com/v1/chat/completions", content=b"{,}")
    assert answer.status_code == 502  # to the real API, which is out of reach here


def test_other_ports_of_a_target_are_other_servers(tmp_path: Path, api: ScriptedServer) -> None:
    """In the modes beside reverse mode."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    modes = [f"regular@{free_port()}", f"reverse:http://127.0.0.1:{free_port()}@{free_port()}"]
    given = [part for mode in modes for part in ("--mode", mode)]
    with (
        running_proxy(tmp_path, api.url, *given),
        greeter() as mail,
        raw_upstream(answer) as upstream,
    ):
        port = int(modes[0].rpartition("@")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as tunnel:
            tunnel.sendall(f"CONNECT 127.0.0.1:{mail} HTTP/1.1\r\n\r\n".encode())
            with tunnel.makefile("rb") as stream:
                assert [*iter(stream.readline, b"\r\n")][0].startswith(b"HTTP/1.1 200")
                assert stream.readline() == GREETING
        target = f"http://127.0.0.1:{upstream.port}/s/any/v1/messages"
        asked = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Session-Id: a\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(f"{asked}Content-Length: 2\r\n\r\n{{}}".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        (received,) = upstream.received
    assert received.startswith(b"POST /s/any/v1/messages")
