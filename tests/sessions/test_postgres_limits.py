"""A PostgreSQL with room for few locks, and one of several that an address names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sessionbridge.cli import housekeeping
from sessionbridge.cli.housekeeping import House
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.sessions.store.postgres.server import Server
from tests.support.postgres import PASSWORD, ROLE, Postgres, running_postgres
from tests.support.postgres_stores import asked
from tests.support.turn_records import KEY, turn

SETTINGS = """
max_connections = 12
max_locks_per_transaction = 10
"""

MANY = 5_000
"""Sessions; there is room for some hundreds of locks."""

POINTS = """
INSERT INTO sessionbridge.points (
    scope, external_id, provider, hash, internal_id, entry_uuid, turn_id
) SELECT %s, %s, %s, 'hash', 'branch-' || number, 'entry', 1
FROM generate_series(1, %s) AS number
"""
LEFT = "SELECT count(*) FROM sessionbridge.points"


@pytest.fixture(scope="module")
def small() -> Iterator[Postgres]:
    with running_postgres(settings=SETTINGS) as server:
        yield server


async def test_what_there_is_no_room_for_is_told(small: Postgres) -> None:
    with small.database() as url, closing(Place(url)) as place:
        place.store(None, PATIENCE)
        with pytest.raises(StoreUnavailable, match="raise max_locks_per_transaction there"):
            async with place.locks().hold_all([str(number) for number in range(MANY)]):
                raise AssertionError
        async with place.locks().hold_all(["one", "other"]):
            pass


def test_a_conversation_of_more_sessions_than_that_is_forgotten(
    small: Postgres, tmp_path: Path
) -> None:
    with small.database() as url, closing(Place(url)) as place:
        store = place.store(lambda: tmp_path, PATIENCE)
        store.commit(turn())
        asked(url, POINTS, KEY.scope, KEY.external_id, KEY.provider, MANY)
        house = House(tmp_path, place, store, tmp_path)
        assert housekeeping.forget(house, KEY, unused_for=3600) is None
        assert asked(url, LEFT) == [(MANY + 2,)], "it was used just now"
        forgotten = housekeeping.forget(house, KEY)
        assert forgotten is not None and forgotten.held.sessions == ("session-1",)
        assert asked(url, LEFT) == [(0,)]
        assert store.find(KEY.external_id) == [KEY] and store.count() == 0


def test_of_several_servers_that_is_used_which_can_be_written_to(
    small: Postgres, postgres: Postgres, database: str
) -> None:
    name = database.rpartition("/")[2]
    small.execute("CREATE DATABASE {} OWNER {}", name, ROLE)
    small.execute("ALTER DATABASE {} SET default_transaction_read_only = on", name)
    hosts = f"127.0.0.1:{small.port},127.0.0.1:{postgres.port}"
    url = f"postgresql://{ROLE}:{PASSWORD}@{hosts}/{name}"
    with closing(Server(url)) as server:
        connection = server.take_for_lock()
        assert connection.info.port == postgres.port
        server.give_back(connection)
    with (
        closing(Server(f"{url}?target_session_attrs=any")) as chosen,
        pytest.raises(StoreUnavailable, match="is read-only"),
    ):
        chosen.open()
