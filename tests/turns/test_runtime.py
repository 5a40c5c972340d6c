"""What stands behind the bridge when its options have changed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from sessionbridge.model import Origin
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.runtime import Runtime
from tests.support.bridge_fixtures import SETTINGS
from tests.turns.test_holders import ONE, TWO

EXCHANGE = Exchange("messages", Origin("tests", "chat-1", "conversation", "client"), path="/v1")


async def test_connections_to_other_nodes_end_with_the_options(
    database: str, tmp_path: Path
) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()
        left.set()

    server = await asyncio.start_server(stranger, "127.0.0.1", 0)
    held_by = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = SETTINGS.model_copy(
        update={"home": tmp_path, "store": database, "node": ONE, "live": 0, "spare": 0}
    )
    place, runtime = Place(database), Runtime()
    runtime.walk(settings)
    runtime.start()
    before = runtime.passing_on
    assert before is not None
    while not asked.is_set():  # until this node has heard it
        await place.channel().say([json.dumps({"node": held_by, "held": ["a-session"]})])
        assert [part async for part in before.answer("a-session", EXCHANGE, b"")] == []
    assert not left.is_set()
    runtime.walk(settings.model_copy(update={"node": TWO}))
    async with asyncio.timeout(10):
        await left.wait()
    assert runtime.passing_on is not before
    await runtime.finish()
    runtime.close()
    place.close()
    server.close()
