"""Which servers are connected to before a client has asked for anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
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


def test_who_asks_for_lazy_has_it(tmp_path: Path, api: ScriptedServer, mail: int) -> None:
    modes = ("--mode", f"socks5@{free_port()}", "--set", "connection_strategy=lazy")
    with running_proxy(tmp_path, api.url, *modes) as proxy, ExitStack() as _:
        silent = connected(proxy, 0)
        assert socks(silent, b"127.0.0.1", mail) == SUCCEEDED
        silent.sendall(b"EHLO\r\n")
        assert heard(silent) == GREETING
