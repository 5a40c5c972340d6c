"""Traffic that is not ours is left byte for byte alone, and never touches the map."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.test_end_to_end import chat_json, rows
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.raw_upstream import raw_upstream
from tests.support.scripted_api import ScriptedServer, user

BODY = json.dumps({"model": "sonnet", "max_tokens": 9, "messages": [user("Hi.")], "user": "me"})
JSON_ANSWER = b"HTTP/1.1 200 OK\r\nX-Odd:  Spaces \r\ncontent-length: 2\r\n\r\n{}"
EVENTS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: 1\n\n",
    b"data: 2\n\n",
)


def config(home: Path) -> dict[str, str]:
    """Makes the upstream's address an endpoint like the real API's."""
    file = home / "config.toml"
    file.write_text('[[endpoints]]\nhost = "127.0.0.1"\npath = "/v1/messages"\napi = "messages"\n')
    return {"config": str(file)}


def request(port: int, *headers: str, method: str = "POST", path: str = "/v1/messages") -> bytes:
    lines = [
        f"{method} http://127.0.0.1:{port}{path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        "x-API-key: sk-ant-mixed-Case",
        *headers,
        f"Content-Length: {len(BODY)}",
    ]
    return "\r\n".join([*lines, "", BODY]).encode()


def exchange(proxy: Proxy, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=10) as connection:
        connection.sendall(sent)
        answer = b""
        while not answer.endswith(b"\r\n\r\n{}"):
            answer += more(connection, answer)
        return answer


def more(connection: socket.socket, before: bytes) -> bytes:
    """What comes next; the end is not expected yet."""
    piece = connection.recv(65536)
    assert piece, before
    return piece


NOT_OURS = {
    "no-origin": {},
    "other-path": {"path": "/v1/messages/count_tokens"},
    "other-method": {"method": "PUT"},
    "query": {"path": "/v1/models?limit=3"},
}


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer
) -> Iterator[tuple[Proxy, Proxy]]:
    """A proxy without the addon, and one with it."""
    bare, home = (tmp_path_factory.mktemp(name) for name in ("bare", "bridge"))
    with (
        running_proxy(bare, api.url, door=None) as without,
        running_proxy(home, api.url, options=config(home)) as with_addon,
    ):
        yield without, with_addon


@pytest.mark.acceptance(13, 24, 26)
@pytest.mark.parametrize("case", NOT_OURS)
def test_bytes_are_those_of_a_proxy_without_the_addon(two: tuple[Proxy, Proxy], case: str) -> None:
    with raw_upstream(JSON_ANSWER) as upstream:
        sent = request(upstream.port, **NOT_OURS[case])
        answer_without, answer_with = (exchange(proxy, sent) for proxy in two)
        without, with_addon = upstream.received

    assert with_addon == without
    assert answer_with == answer_without
    assert not (two[1].home / "bridge").exists()


def test_of_our_own_headers_the_api_is_told_nothing(two: tuple[Proxy, Proxy]) -> None:
    own = ("X-SessionBridge-New: 1", "x-sessionbridge-fallback: none", "X-SESSIONBRIDGE-Odd: odd")
    with raw_upstream(JSON_ANSWER) as upstream:
        without, with_addon = request(upstream.port), request(upstream.port, *own)
        for proxy, sent in zip(two, (without, with_addon), strict=True):
            exchange(proxy, sent)
        plain, passed = upstream.received
    assert passed == plain


def test_an_event_stream_passes_piece_by_piece(two: tuple[Proxy, Proxy]) -> None:
    _, proxy = two
    with (
        raw_upstream(*EVENTS) as upstream,
        socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=10) as connection,
    ):
        connection.sendall(request(upstream.port))
        answer = b""
        while not answer.endswith(b"data: 1\n\n"):
            answer += more(connection, answer)
        upstream.go_on()
        while piece := connection.recv(65536):
            answer += piece
    assert answer.endswith(b"data: 1\n\ndata: 2\n\n")


def test_who_repeats_a_session_of_ours_is_bridged_all_the_same(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with running_proxy(tmp_path, api.url, options=config(tmp_path)) as proxy:
        chat_json(proxy, {"X-GoClaw-User-Id": "parent"}, False)([user("Hello.")])
        (session,) = (row["internal_id"] for row in rows(proxy, "SELECT * FROM session_map"))
        headers = {"X-Claude-Code-Session-Id": session, "X-SessionBridge-Session": "its own"}
        answer = chat_json(proxy, headers, True)([user("My name is Ida.")])
        assert answer == "Nice to meet you, Ida!"
        scopes = {row["scope"] for row in rows(proxy, "SELECT * FROM session_map")}
        assert scopes == {"goclaw", "sessionbridge"}


@pytest.mark.parametrize("through", ["inherited", "forced"])
def test_the_child_never_loops_through_the_proxy(
    tmp_path: Path, api: ScriptedServer, through: str
) -> None:
    """With the proxy in the environment the child does not use it; made to use it, it passes."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    variables = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "ALL_PROXY": address}
    claude_env = ["ANTHROPIC_AUTH_TOKEN=dummy", f"ANTHROPIC_BASE_URL={api.url}"]
    if through == "forced":
        claude_env += [f"HTTP_PROXY={address}", "NO_PROXY="]
    options = config(tmp_path) | {"claude_env": claude_env, "unkeyed": "stateless"}
    arguments = ("--listen-port", str(port))

    with running_proxy(tmp_path, api.url, *arguments, options=options, env=variables) as proxy:
        ask = chat_json(proxy, {"X-GoClaw-User-Id": f"loop-{through}"}, False)
        assert ask([user("My name is Loop.")]) == "Nice to meet you, Loop!"
        flows = proxy.flows()

    own = [flow for flow in flows if flow["url"].startswith(api.url)]
    assert bool(own) == (through == "forced")
    asked = [flow for flow in own if "/v1/messages" in flow["url"]]
    assert [flow["metadata"] for flow in asked] == [{"plan": "own"}] * len(asked)


@pytest.mark.acceptance(24, 31)
def test_stateless_answers_and_forgets(tmp_path: Path, api: ScriptedServer) -> None:
    with running_proxy(tmp_path, api.url, options={"unkeyed": "stateless"}) as proxy:
        ask = chat_json(proxy, {}, False)
        assert ask([user("My name is Otto.")]) == "Nice to meet you, Otto!"
        assert ask([user("Who am I?")]) == "I do not know your name yet."
        first, second = (flow["metadata"] for flow in proxy.flows())

    assert first["session"] != second["session"]
    assert first["reason"] == second["reason"] == "stateless"
    assert not proxy.database.exists()
    assert not list((tmp_path / "claude").rglob("*.jsonl"))


@pytest.mark.acceptance(13, 21)
def test_continue_goes_on_with_the_last_session(tmp_path: Path, api: ScriptedServer) -> None:
    with running_proxy(tmp_path, api.url, options={"unkeyed": "continue"}) as proxy:
        ask = chat_json(proxy, {}, False)
        ask([user("My name is Cora.")])
        assert ask([user("Who am I? (continue)")]) == "Your name is Cora."
        assert "--continue" in proxy.flows()[-1]["metadata"]["command"]
    assert not proxy.database.exists()


@pytest.mark.acceptance(6, 20)
def test_the_map_switched_off_keeps_nothing(tmp_path: Path, api: ScriptedServer) -> None:
    off = {"SESSIONBRIDGE_MAPPER": "0"}
    with running_proxy(tmp_path, api.url, env=off) as proxy:
        ask = chat_json(proxy, {"X-GoClaw-User-Id": "off"}, False)
        ask([user("My name is Olga.")])
        assert ask([user("Who am I? (mapper off)")]) == "I do not know your name yet."
        assert {flow["metadata"]["reason"] for flow in proxy.flows()} == {"mapper_off"}
    assert not proxy.database.exists()
