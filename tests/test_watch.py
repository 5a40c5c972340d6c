"""LLM traffic that passes through is counted where the user wants it; nothing waits for that."""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.sessions.store import SessionStore
from tests.proxy import Proxy, running_proxy, wait_for
from tests.raw_upstream import raw_upstream
from tests.scripted_api import ScriptedServer, user
from tests.test_end_to_end import chat_json, rows
from tests.test_passthrough import more, request

USAGE = {
    "input_tokens": 7,
    "output_tokens": 5,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 90,
}
COLUMNS = (*USAGE, "plan", "api", "model", "status", "scope", "external_id")
MODEL = "claude-sonnet-4-5"


def answer(body: bytes, content_type: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def whole(usage: Any = USAGE) -> bytes:
    content = [{"type": "text", "text": "Hello."}]
    message = {"type": "message", "role": "assistant", "model": MODEL, "content": content}
    told = message | {"id": "msg_1", "stop_reason": "end_turn", "usage": usage}
    return answer(json.dumps(told).encode(), "application/json")


def events() -> list[bytes]:
    started = {"id": "msg_1", "model": MODEL, "usage": {**USAGE, "output_tokens": 1}, "content": []}
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in told]


def counted(proxy: Proxy) -> list[dict[str, Any]]:
    """The rows of the ledger, once there is one: it is written after the client has its answer."""

    def found() -> list[dict[str, Any]] | None:
        with suppress(sqlite3.OperationalError):  # while the file is being made
            return rows(proxy, "SELECT * FROM turns")
        return None

    return wait_for(found, "a row of the ledger")


def exchanged(proxy: Proxy, port: int, *headers: str, path: str = "/v1/messages") -> None:
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=10) as connection:
        connection.sendall(request(port, *headers, path=path))
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith((b"}", b"\n\n")):
            received += more(connection, received)


@pytest.mark.parametrize("path", ["/v1/messages", "/api/anthropic/v1/messages"])
def test_a_whole_answer_is_counted(tmp_path: Path, api: ScriptedServer, path: str) -> None:
    with (
        raw_upstream(whole()) as upstream,
        running_proxy(tmp_path, api.url, options={"watch": "true"}) as proxy,
    ):
        exchanged(proxy, upstream.port, path=path)
        (row,) = counted(proxy)
    told = {name: row[name] for name in COLUMNS}
    assert told == {
        **USAGE,
        "plan": "passthrough",
        "api": "messages",
        "model": MODEL,
        "status": "end_turn",
        "scope": "passthrough",
        "external_id": "127.0.0.1",
    }
    assert row["cost_usd"] > 0
    assert rows(proxy, "SELECT * FROM session_map") == []


def test_a_stream_passes_piece_by_piece_and_is_counted(tmp_path: Path, api: ScriptedServer) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    first, *others = events()
    with (
        raw_upstream(head + first, *others) as upstream,
        running_proxy(tmp_path, api.url, options={"watch": "true"}) as proxy,
        socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=10) as connection,
    ):
        connection.sendall(request(upstream.port))
        received = b""
        for piece in events():
            # The next one is sent only when this one has come through.
            while not received.endswith(piece):
                received += more(connection, received)
            upstream.go_on()
        (row,) = counted(proxy)
    assert {name: row[name] for name in USAGE} == USAGE


def test_unless_told_to_nothing_is_counted(tmp_path: Path, api: ScriptedServer) -> None:
    with raw_upstream(whole()) as upstream, running_proxy(tmp_path, api.url) as proxy:
        exchanged(proxy, upstream.port)
        # Its row would have been written before that of a turn that began after it had ended.
        chat_json(proxy, {"X-GoClaw-User-Id": "ann"}, False)([user("My name is Ann.")])
        assert [row["scope"] for row in rows(proxy, "SELECT * FROM turns")] == ["goclaw"]


def test_what_the_bridge_itself_asks_is_counted_once(tmp_path: Path, api: ScriptedServer) -> None:
    """A CLI that calls the API through the proxy, for a turn that is counted already."""
    with (
        raw_upstream(whole()) as upstream,
        running_proxy(tmp_path, api.url, options={"watch": "true"}) as proxy,
    ):
        chat_json(proxy, {"X-GoClaw-User-Id": "parent"}, False)([user("Hello.")])
        (session,) = (row["internal_id"] for row in rows(proxy, "SELECT * FROM session_map"))
        exchanged(proxy, upstream.port, f"X-Claude-Code-Session-Id: {session}")
        exchanged(proxy, upstream.port)

        def both() -> list[dict[str, Any]] | None:
            found = rows(proxy, "SELECT scope FROM turns ORDER BY id")
            return found if len(found) > 1 else None

        assert [row["scope"] for row in wait_for(both, "two rows")] == ["goclaw", "passthrough"]


def test_an_answer_without_counts_is_none(tmp_path: Path, api: ScriptedServer) -> None:
    with (
        raw_upstream(whole(usage=None)) as upstream,
        running_proxy(tmp_path, api.url, options={"watch": "true"}) as proxy,
    ):
        exchanged(proxy, upstream.port)
        chat_json(proxy, {"X-GoClaw-User-Id": "ann"}, False)([user("My name is Ann.")])
        assert [row["scope"] for row in rows(proxy, "SELECT * FROM turns")] == ["goclaw"]
        assert "not counted" not in proxy.log


def test_the_ledger_tells_them_apart(tmp_path: Path, api: ScriptedServer) -> None:
    with (
        raw_upstream(whole()) as upstream,
        running_proxy(tmp_path, api.url, options={"watch": "true"}) as proxy,
    ):
        exchanged(proxy, upstream.port)
        counted(proxy)
    store = SessionStore.open(proxy.database)
    (cost,) = store.costs("user")
    assert cost.group == {"platform": "passthrough", "user": "127.0.0.1"}
    assert (cost.turns, cost.usage.cache_read_input_tokens) == (1, 90)
    assert store.sessions() == []
    store.close()
