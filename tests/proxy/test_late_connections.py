"""Which servers are connected to before a client has asked for anything."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.end_to_end.test_end_to_end import chat_json
from tests.support.greeter import GREETING, greeter
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer, user

SUCCEEDED, REFUSED = 0, 5
"""Answers of SOCKS (RFC 1928, 6)."""


@pytest.fixture(scope="module")
def mail() -> Iterator[int]:
    with greeter() as port:
        yield port


@pytest.fixture(scope="module")
def several(
    tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer, mail: int
) -> Iterator[Proxy]:
    """A proxy with a regular port, one of SOCKS, one of bare TCP and one of reverse mode."""
    modes: list[str] = []
    for mode in (
        "regular",
        "socks5",
        f"reverse:tcp://127.0.0.1:{mail}",
        "reverse:https://api.anthropic.com",
    ):
        modes += ["--mode", f"{mode}@{free_port()}"]
    with running_proxy(tmp_path_factory.mktemp("several"), api.url, *modes) as proxy:
        yield proxy


def connected(proxy: Proxy, number: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", proxy.ports[number]), timeout=20)
    return proxy.clients.enter_context(made)


def heard(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.readline()


def socks(connection: socket.socket, host: bytes, port: int) -> int:
    """Asks for a connection by name; returns what is answered."""
    connection.sendall(b"\x05\x01\x00")
    assert connection.recv(2) == b"\x05\x00"
    asked = b"\x05\x01\x00\x03" + bytes([len(host)]) + host + port.to_bytes(2)
    connection.sendall(asked)
    answer = connection.recv(10)
    assert len(answer) == 10
    return answer[1]


def test_who_speaks_first_is_heard(several: Proxy, mail: int) -> None:
    tunnel = connected(several, 0)
    tunnel.sendall(f"CONNECT 127.0.0.1:{mail} HTTP/1.1\r\n\r\n".encode())
    with tunnel.makefile("rb") as stream:
        head = [*iter(stream.readline, b"\r\n")]
        assert head[0].startswith(b"HTTP/1.1 200") and stream.readline() == GREETING
    by_socks = connected(several, 1)
    assert socks(by_socks, b"127.0.0.1", mail) == SUCCEEDED
    assert heard(by_socks) == GREETING
    assert heard(connected(several, 2)) == GREETING


def test_who_is_not_there_is_told_by_socks(several: Proxy) -> None:
    assert socks(connected(several, 1), b"127.0.0.1", free_port()) != SUCCEEDED


def test_bridged_hosts_are_not_connected_to(several: Proxy, api: ScriptedServer) -> None:
    before = len(several.recorded())
    assert socks(connected(several, 1), b"api.anthropic.com", 443) == SUCCEEDED
    assert socks(connected(several, 1), b"api.anthropic.com", 8443) == SUCCEEDED
    connected(several, 3).sendall(b"GET /nothing")
    answered = chat_json(several, {"X-OpenClaw-Session": "late"}, False)
    assert answered([user("My name is Una.")]) == "Nice to meet you, Una!"
    hosts = [line.get("server_connect", "127.0.0.1") for line in several.recorded()[before:]]
    assert set(hosts) == {"127.0.0.1"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    """A regular port and one of SOCKS, where a host is bridged at whatever port."""
    home = tmp_path_factory.mktemp("shared")
    rows = '[[endpoints]]\nhost = "localhost"\npath = "/v1/chat/completions"\napi = "chat"\n'
    (home / "sessionbridge.toml").write_text(rows)
    modes = [part for mode in ("regular", "socks5") for part in ("--mode", f"{mode}@{free_port()}")]
    options = {"config": str(home / "sessionbridge.toml")}
    reachable = {"RECORDER_REACHABLE": "localhost"}
    with running_proxy(home, api.url, *modes, options=options, env=reachable) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """A server that says back what it is told."""
    with _EchoServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class _EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False  # clients end theirs later


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with suppress(ConnectionResetError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


def to_localhost(proxy: Proxy, number: int, port: int) -> socket.socket:
    connection = connected(proxy, number)
    if number:
        assert socks(connection, b"localhost", port) == SUCCEEDED
    else:
        connection.sendall(f"CONNECT localhost:{port} HTTP/1.1\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    return connection


@pytest.mark.parametrize("number", [0, 1], ids=["regular", "socks5"])
def test_other_servers_of_a_bridged_host_are_heard(
    shared: Proxy, mail: int, echo: int, number: int
) -> None:
    assert heard(to_localhost(shared, number, mail)) == GREETING
    for said in (b"HELLO", b"PING x", b"\r\n", b"\r\nHELLO", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"):
        client = to_localhost(shared, number, echo)
        client.sendall(said)
        assert client.recv(100) == said


def test_so_are_those_of_clients_that_have_said_all(shared: Proxy, echo: int) -> None:
    """By SOCKS; in a tunnel mitmproxy takes that for the end of both ways."""
    ended = to_localhost(shared, 1, echo)
    ended.sendall(b"\r\n")
    ended.shutdown(socket.SHUT_WR)
    assert ended.recv(100) == b"\r\n" and ended.recv(100) == b""


@pytest.mark.parametrize("number", [0, 1], ids=["regular", "socks5"])
def test_and_it_is_bridged(shared: Proxy, number: int) -> None:
    body = json.dumps({"model": "gpt-5", "messages": [user("My name is Ola.")]}).encode()
    before = len(shared.recorded())
    client = to_localhost(shared, number, free_port())
    client.sendall(b"\r\nPOST /v1/chat")
    head = "/completions HTTP/1.1\r\nHost: localhost\r\nX-SessionBridge-Session: own\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    said = b""
    while b"Ola" not in said:
        assert (more := client.recv(65536)), said
        said += more
    hosts = {line.get("server_connect", "127.0.0.1") for line in shared.recorded()[before:]}
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize("said", [b"HELLO", b"PING x", b"\r\n"])
def test_what_is_no_request_goes_on_at_a_bare_address(several: Proxy, said: bytes) -> None:
    client = connected(several, 1)
    before = len(several.recorded())
    assert socks(client, b"198.51.100.9", 80) == SUCCEEDED
    client.sendall(said)
    assert client.recv(100) == b""  # nobody is there (RFC 5737)
    hosts = [line.get("server_connect") for line in several.recorded()[before:]]
    assert "198.51.100.9" in hosts


def test_who_asks_for_lazy_has_it(tmp_path: Path, api: ScriptedServer, mail: int) -> None:
    modes = ("--mode", f"socks5@{free_port()}", "--set", "connection_strategy=lazy")
    with running_proxy(tmp_path, api.url, *modes) as proxy, ExitStack() as _:
        silent = connected(proxy, 0)
        assert socks(silent, b"127.0.0.1", mail) == SUCCEEDED
        silent.sendall(b"EHLO\r\n")
        assert heard(silent) == GREETING
