"""A page that has brought a name of its own to resolve to this machine reads nothing through the
proxy in reverse mode, whatever it asks for. Real mitmdump, requests as bytes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.raw_upstream import RawUpstream, raw_upstream
from tests.support.scripted_api import ScriptedServer

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BODY = json.dumps({"model": "sonnet", "max_tokens": 9, "messages": []})
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
ASKED = {
    "the metrics": ("GET /.sessionbridge/metrics", ""),
    "the dashboard": ("GET /.sessionbridge/", ""),
    "what passes through": ("GET /v1/models", ""),
    "a bridged turn": ("POST /v1/messages", BODY, "X-OpenClaw-Session: a"),
    "a turn that passes": ("POST /v1/messages", BODY),
    "a large body": ("POST /v1/files", "x" * 5000),
    "a web socket": (
        "GET /v1/responses",
        "",
        *UPGRADE,
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ),
}


@contextmanager
def reversing(
    tmp_path: Path, api: ScriptedServer, *more: str
) -> Iterator[tuple[Proxy, RawUpstream]]:
    with raw_upstream(ANSWER) as upstream:
        mode = ("--mode", f"reverse:http://127.0.0.1:{upstream.port}@{free_port()}")
        with running_proxy(tmp_path, api.url, *mode, *more) as proxy:
            yield proxy, upstream


@pytest.fixture(scope="module")
def plain(
    tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer
) -> Iterator[tuple[Proxy, RawUpstream]]:
    with reversing(tmp_path_factory.mktemp("plain"), api) as running:
        yield running


@pytest.fixture
def reverse(plain: tuple[Proxy, RawUpstream]) -> tuple[Proxy, RawUpstream]:
    """The target has received nothing yet."""
    _, upstream = plain
    upstream.received.clear()
    return plain


def request(host: str, line: str, body: str, *headers: str) -> bytes:
    lines = [f"{line} HTTP/1.1", f"Host: {host}", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", body]).encode()


def answers(proxy: Proxy, *sent: bytes) -> list[int]:
    """The statuses of requests on one connection, one after the other."""
    statuses = []
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=20) as connection:
        stream = connection.makefile("rb")
        for one in sent:
            connection.sendall(one)
            statuses.append(int(stream.readline().split()[1]))
            length = 0
            while line := stream.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            stream.read(length)
    return statuses


def test_by_another_name_nothing_is_read(reverse: tuple[Proxy, RawUpstream]) -> None:
    assert_nothing_is_read(*reverse)


def test_so_it_is_where_large_bodies_are_streamed(tmp_path: Path, api: ScriptedServer) -> None:
    with reversing(tmp_path, api, "--set", "stream_large_bodies=1k") as running:
        assert_nothing_is_read(*running)


def assert_nothing_is_read(proxy: Proxy, upstream: RawUpstream) -> None:
    for what, asked in ASKED.items():
        assert answers(proxy, request("evil.example:8080", *asked)) == [403], what
    assert upstream.received == []
    assert not proxy.database.exists()


def test_by_its_own_it_is_and_the_target_sees_its_own(reverse: tuple[Proxy, RawUpstream]) -> None:
    proxy, upstream = reverse
    for host in ("127.0.0.1:8080", "localhost", "[::1]:8080", "a.localhost"):
        assert answers(proxy, request(host, *ASKED["the metrics"])) == [200], host
    assert answers(proxy, request("localhost", *ASKED["what passes through"])) == [200]
    (received,) = upstream.received
    assert f"Host: 127.0.0.1:{upstream.port}".encode() in received


def test_an_address_and_what_is_listed_are_no_names_of_others(
    tmp_path: Path, api: ScriptedServer
) -> None:
    listed = ("--set", "sessionbridge_allow_origins=http://bridge.lan:8080")
    with reversing(tmp_path, api, *listed) as (proxy, _):
        for host in ("192.0.2.7:8080", "[2001:db8::7]", "Bridge.LAN:8080", "bridge.lan.:8080"):
            assert answers(proxy, request(host, *ASKED["what passes through"])) == [200], host
        for host in ("bridge.lan", "bridge.lan:8081", "192.0.2.7.evil.example"):
            assert answers(proxy, request(host, *ASKED["what passes through"])) == [403], host


def test_a_method_in_small_letters_is_the_same(reverse: tuple[Proxy, RawUpstream]) -> None:
    asked = ("post /v1/messages", BODY, "X-OpenClaw-Session: a")
    assert answers(reverse[0], request("localhost", *asked)) == [400]  # it has no messages


def test_each_request_of_a_connection_is_looked_at(reverse: tuple[Proxy, RawUpstream]) -> None:
    own, other = (request(h, *ASKED["the metrics"]) for h in ("localhost", "evil.example"))
    assert answers(reverse[0], own, other, own) == [200, 403, 200]


def test_over_tls_too(tmp_path: Path, api: ScriptedServer) -> None:
    mode = ("--mode", f"reverse:https://target.invalid@{free_port()}")
    with (
        running_proxy(tmp_path, api.url, *mode) as proxy,
        httpx.Client(verify=proxy.tls(), trust_env=False, timeout=30) as client,
    ):
        address = f"https://127.0.0.1:{proxy.ports[0]}/.sessionbridge/metrics"
        for host, status in (("localhost", 200), ("evil.example", 403), ("target.invalid", 403)):
            assert client.get(address, headers={"host": host}).status_code == status


def test_the_clients_own_host_is_kept_where_that_is_wished(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with reversing(tmp_path, api, "--set", "keep_host_header=true") as (proxy, upstream):
        sent = [request(host, *ASKED["what passes through"]) for host in ("a.localhost", "b.c")]
        assert answers(proxy, *sent) == [200, 403]
        (received,) = upstream.received
        assert b"Host: a.localhost" in received
