"""LLM traffic that passes through is counted where the user wants it; nothing waits for that."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.cli.child_mark import CHILD_HEADER, child_secret
from sessionbridge.sessions.store.store import SessionStore
from tests.end_to_end.test_end_to_end import chat_json, rows
from tests.proxy.test_passthrough import more, request
from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.raw_upstream import raw_upstream
from tests.support.scripted_api import ScriptedServer, user

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


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    home = tmp_path_factory.mktemp("watching")
    with running_proxy(home, api.url, options={"watch": "true"}) as proxy:
        yield proxy


def known(proxy: Proxy) -> list[dict[str, Any]]:
    with suppress(sqlite3.OperationalError):  # while the file is being made
        return rows(proxy, "SELECT * FROM turns ORDER BY id")
    return []


def counted(proxy: Proxy, before: int = 0, new: int = 1) -> list[dict[str, Any]]:
    """The rows of the ledger after so many, once they are there: the client is answered first."""

    def found() -> list[dict[str, Any]] | None:
        rows = known(proxy)[before:]
        return rows if len(rows) >= new else None

    return wait_for(found, f"{new} new rows of the ledger")


def exchanged(proxy: Proxy, port: int, *headers: str, path: str = "/v1/messages") -> None:
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=10) as connection:
        connection.sendall(request(port, *headers, path=path))
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith((b"}", b"\n\n")):
            received += more(connection, received)


@pytest.mark.parametrize("path", ["/v1/messages", "/api/anthropic/v1/messages"])
def test_a_whole_answer_is_counted(watching: Proxy, path: str) -> None:
    before = len(known(watching))
    with raw_upstream(whole()) as upstream:
        exchanged(watching, upstream.port, path=path)
    (row,) = counted(watching, before)
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
    assert rows(watching, "SELECT * FROM session_map WHERE scope = 'passthrough'") == []


def documents() -> list[bytes]:
    """A stream of Ollama's."""
    told: list[dict[str, Any]] = [
        {"message": {"role": "assistant", "content": "Hi"}, "done": False},
        {"message": {"content": ""}, "done": True, "prompt_eval_count": 97, "eval_count": 5},
    ]
    return [json.dumps({"model": MODEL, **one}).encode() + b"\n" for one in told]


STREAMS = [
    pytest.param("/v1/messages", "text/event-stream", events(), USAGE, id="events"),
    pytest.param(
        "/api/chat",
        "application/x-ndjson",
        documents(),
        {"input_tokens": 97, "output_tokens": 5},
        id="documents",
    ),
]


@pytest.mark.parametrize(("path", "content_type", "pieces", "usage"), STREAMS)
def test_a_stream_passes_piece_by_piece_and_is_counted(
    watching: Proxy, path: str, content_type: str, pieces: list[bytes], usage: dict[str, int]
) -> None:
    before = len(known(watching))
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n"
    first, *others = pieces
    with (
        raw_upstream(head.encode() + first, *others) as upstream,
        socket.create_connection(("127.0.0.1", watching.ports[0]), timeout=10) as connection,
    ):
        connection.sendall(request(upstream.port, path=path))
        received = b""
        for piece in pieces:
            # The next one is sent only when this one has come through.
            while not received.endswith(piece):
                received += more(connection, received)
            upstream.go_on()
        # Who leaves before the proxy has seen the end has left in mid-answer.
        assert connection.recv(1) == b""
    (row,) = counted(watching, before)
    assert {name: row[name] for name in usage} == usage


def test_unless_told_to_nothing_is_counted(tmp_path: Path, api: ScriptedServer) -> None:
    with raw_upstream(whole()) as upstream, running_proxy(tmp_path, api.url) as proxy:
        exchanged(proxy, upstream.port)
        # Its row would have been written before that of a turn that began after it had ended.
        chat_json(proxy, {"X-GoClaw-User-Id": "ann"}, False)([user("My name is Ann.")])
        assert [row["scope"] for row in rows(proxy, "SELECT * FROM turns")] == ["goclaw"]


def test_what_the_bridge_itself_asks_is_counted_once(watching: Proxy) -> None:
    """A CLI that calls the API through the proxy, for a turn that is counted already."""
    before = len(known(watching))
    chat_json(watching, {"X-GoClaw-User-Id": "parent"}, False)([user("Hello.")])
    counted(watching, before)
    asked = f"{CHILD_HEADER}: {child_secret(watching.home / 'bridge')}"
    with raw_upstream(whole()) as upstream:
        exchanged(watching, upstream.port, asked)
    with raw_upstream(whole().replace(b"sonnet-4", b"sonnet-5")) as upstream:
        exchanged(watching, upstream.port)
    _, passed = counted(watching, before, new=2)
    assert passed["model"] == MODEL.replace("4", "5", 1)


def test_an_answer_without_counts_is_none(watching: Proxy) -> None:
    before = len(known(watching))
    with raw_upstream(whole(usage=None)) as upstream:
        exchanged(watching, upstream.port)
    chat_json(watching, {"X-GoClaw-User-Id": "ann"}, False)([user("My name is Ann.")])
    assert [row["scope"] for row in counted(watching, before)] == ["goclaw"]
    assert "not counted" not in watching.log


def test_the_ledger_tells_them_apart(watching: Proxy) -> None:
    before = len(known(watching))
    with raw_upstream(whole()) as upstream:
        exchanged(watching, upstream.port)
    counted(watching, before)
    with closing(SessionStore.open(watching.database)) as store:
        passed = [row for row in store.costs("user") if row.group["platform"] == "passthrough"]
        kept = [session.key.scope for session in store.sessions()]
    assert [row.group["user"] for row in passed] == ["127.0.0.1"]
    cached = [row for row in known(watching) if row["api"] == "messages"]
    assert passed[0].usage.cache_read_input_tokens == 90 * len(cached)
    assert "passthrough" not in kept


def test_names_are_cut_to_what_can_be_shown(watching: Proxy) -> None:
    """Whoever answered may be anybody."""
    before = len(known(watching))
    body = whole().replace(MODEL.encode(), b"\\ud800\\u001b[2J" + b"x" * 500)
    sent = answer(body.partition(b"\r\n\r\n")[2], "application/json")
    with raw_upstream(sent) as upstream:
        exchanged(watching, upstream.port)
    (row,) = counted(watching, before)
    assert row["model"] == "[2J" + "x" * 95


def test_flows_from_a_file_are_not_counted(tmp_path: Path, api: ScriptedServer) -> None:
    saved = tmp_path / "saved"
    with (
        raw_upstream(whole()) as upstream,
        running_proxy(tmp_path, api.url, "-w", str(saved), options={"watch": "true"}) as proxy,
    ):
        exchanged(proxy, upstream.port)
        counted(proxy)
    with running_proxy(tmp_path, api.url, "-r", str(saved), options={"watch": "true"}) as proxy:
        chat_json(proxy, {"X-GoClaw-User-Id": "ann"}, False)([user("My name is Ann.")])
        scopes = [row["scope"] for row in rows(proxy, "SELECT scope FROM turns ORDER BY id")]
    assert scopes == ["passthrough", "goclaw"]
