"""The store and its locks through PgBouncer, by transactions and by sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sessionbridge.errors import StoreUnavailable
from tests.support.lock_places import one_by_one, queue
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import Postgres
from tests.support.postgres_stores import NodeStore, asked, node_store
from tests.support.turn_records import KEY, turn, turn_named


@dataclass(frozen=True, slots=True)
class Pooled:
    """Two nodes behind it; `url` leads to PostgreSQL itself."""

    url: str
    folders: tuple[Path, Path]
    one: NodeStore
    other: NodeStore


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooled(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pooled]:
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    with running_pgbouncer(postgres, request.param) as port, postgres.database() as url:
        through = url.replace(f":{postgres.port}/", f":{port}/")
        with (
            node_store(through, folder=one) as first,
            node_store(through, folder=other) as second,
        ):
            yield Pooled(url, (one, other), first, second)


def test_what_one_node_keeps_the_other_has(pooled: Pooled) -> None:
    """Often enough for questions to be prepared, were they to be."""
    one, other = pooled.one, pooled.other
    for number in range(12):
        for node in (one, other):
            node.store.commit(turn(history_hash=str(number)))
            found = node.store.lineage(KEY, ["ask", str(number)])
            assert found.row is not None and found.tip is not None
            assert node.store.get(KEY) == "session-1"
    assert len(one.store.turns(KEY)) == 24
    assert [row.turns for row in one.store.costs("day")] == [24]
    assert other.store.delete(KEY) is not None
    assert one.store.count() == 0


def test_transcripts_are_shared(pooled: Pooled) -> None:
    one, other = pooled.one, pooled.other
    here, there = (folder / "session-1.jsonl" for folder in pooled.folders)
    here.write_text("a\n")
    one.store.commit(turn())
    other.store.bring_in("session-1")
    assert there.read_text() == "a\n"


async def test_locks_are_had_in_order(pooled: Pooled) -> None:
    one, other = (node.locks for node in (pooled.one, pooled.other))
    holder, gone, *patient = await queue(one, other, one, other)
    await gone.leave()
    await one_by_one([holder, *patient])


async def test_a_turn_is_committed_with_its_lock(pooled: Pooled) -> None:
    one, other, record = pooled.one, pooled.other, turn_named("locked")
    async with one.locks.hold("session-1", lambda: None):
        one.store.commit(record, "session-1")
        async with other.locks.hold("session-1", pytest.fail):
            holders = "FROM pg_locks WHERE locktype = 'advisory' AND granted"
            asked(pooled.url, f"SELECT pg_terminate_backend(pid, 5000) {holders}")
            with pytest.raises(StoreUnavailable, match="This turn was not kept"):
                other.store.commit(record, "session-1")
    assert len(one.store.turns(record.key)) == 1
