"""What nodes say to each other by PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sessionbridge.sessions.store.postgres.channel import PostgresChannel
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from tests.support.pgbouncer import PoolMode, running_pgbouncer
from tests.support.postgres import Postgres


@asynccontextmanager
async def heard(channel: PostgresChannel) -> AsyncIterator[AsyncGenerator[str | None]]:
    texts = channel.heard()
    try:
        async with asyncio.timeout(20):
            yield texts
    finally:
        await texts.aclose()


async def test_all_hear_what_one_says_in_its_order(database: str) -> None:
    places = [Place(database) for _ in range(2)]
    one, two = (place.channel() for place in places)
    try:
        async with heard(one) as by_one, heard(two) as by_two:
            assert await anext(by_one) is None
            assert await anext(by_two) is None
            said = [f"{number} é % {'x' * 7900}" for number in range(3)]
            await one.say(said)
            assert [await anext(by_one) for _ in said] == said
            assert [await anext(by_two) for _ in said] == said
    finally:
        for place in places:
            place.close()


async def test_it_tells_that_something_may_have_been_missed(
    postgres: Postgres, database: str
) -> None:
    place = Place(database)
    channel = place.channel()
    try:
        async with heard(channel) as texts:
            assert await anext(texts) is None
            postgres.restart()
            assert await anext(texts) is None
            await channel.say(["after"])
            assert await anext(texts) == "after"
    finally:
        place.close()


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_pgbouncer_passes_nothing_on(
    postgres: Postgres, database: str, mode: PoolMode, caplog: pytest.LogCaptureFixture
) -> None:
    with running_pgbouncer(postgres, mode) as port:
        place = Place(database.replace(f":{postgres.port}/", f":{port}/"))
        try:
            with caplog.at_level(logging.WARNING):
                async with heard(place.channel()) as texts:
                    assert [text async for text in texts] == []
        finally:
            place.close()
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("PgBouncer is before the session database postgresql://127.0.0.1:")
