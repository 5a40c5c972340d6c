"""Answers of the Responses API that pass through on a WebSocket, many on one connection."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tornado import web, websocket
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.end_to_end.test_end_to_end import rows
from tests.support.proxy import running_proxy

MODEL = "gpt-4o"


def events(number: int, end: str, used: object) -> Iterator[dict[str, Any]]:
    response = {"id": f"resp_{number}", "model": MODEL, "status": end, "output": []}
    yield {"type": "response.created", "response": {**response, "usage": None}}
    quoted = '"response.completed"'
    yield {"type": "response.output_text.delta", "delta": quoted, "item_id": "i", "output_index": 0}
    yield {"type": f"response.{end}", "response": {**response, "usage": used}}


def usage(number: int) -> dict[str, Any]:
    details = {"cached_tokens": 40}
    return {"input_tokens": 100, "input_tokens_details": details, "output_tokens": number}


class Api(websocket.WebSocketHandler):
    """Answers each message with what is asked of it."""

    def on_message(self, message: str | bytes) -> None:
        asked = json.loads(message)
        for event in events(*asked):
            self.write_message(json.dumps(event))


@pytest.mark.parametrize("path", ["/v1/responses", "/backend-api/codex/responses"])
async def test_each_answer_is_counted_when_it_has_ended(tmp_path: Path, path: str) -> None:
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(web.Application([(".*", Api)]))
    server.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    asked = [(1, "completed", usage(1)), (2, "incomplete", usage(2)), (3, "completed", None)]
    started = running_proxy(tmp_path, url, "--mode", f"reverse:{url}@0", options={"watch": "true"})
    proxy = await asyncio.to_thread(started.__enter__)
    try:
        client = await websocket.websocket_connect(f"ws://127.0.0.1:{proxy.ports[0]}{path}")
        for one in [*asked, (4, "failed", usage(4))]:
            await client.write_message(json.dumps(one))
            heard = [json.loads(await client.read_message() or "") for _ in range(3)]
            assert heard == list(events(*one))
        counted = await _counted(proxy, 3)
        client.close()
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)
        server.stop()
        await server.close_all_connections()
    told = [(row["input_tokens"], row["cache_read_input_tokens"]) for row in counted]
    assert told == [(60, 40)] * 3
    assert [row["output_tokens"] for row in counted] == [1, 2, 4]
    assert [row["status"] for row in counted] == ["completed", "incomplete", "failed"]
    assert {(row["plan"], row["api"], row["model"]) for row in counted} == {
        ("passthrough", "responses", MODEL)
    }
    assert all(0 <= row["duration_ms"] < 10_000 and row["cost_usd"] > 0 for row in counted)


async def _counted(proxy: Any, number: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while True:
            with suppress(sqlite3.OperationalError):  # there is no table in it yet
                found = _rows(proxy) if proxy.database.exists() else []
                if len(found) >= number:
                    return found
            await asyncio.sleep(0.05)


def _rows(proxy: Any) -> list[dict[str, Any]]:
    return rows(proxy, "SELECT * FROM turns ORDER BY output_tokens")
