"""The session map, the lineage and the ledger, as one process sees them."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import Point, SessionKey
from sessionbridge.sessions.store.store import SessionStore
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import KEY, turn

TURNS = "SELECT * FROM turns"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "session_map.db"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, path: Path, clock: Clock) -> Iterator[SessionStore]:
    with opened_store(request, path.parent, clock) as opened:
        yield opened


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


# -- the map (the mapper's thirteen behaviours; corrupt recovery is in test_store_faults) ----------


@pytest.mark.acceptance(19)
def test_unknown_triple_is_none(store: SessionStore) -> None:
    assert store.get(KEY) is None
    assert store.lineage(KEY, ["history"]).row is None
    assert store.count() == 0


@pytest.mark.acceptance(19)
def test_roundtrip(store: SessionStore) -> None:
    store.set(KEY, "session-1", {"kind": "user", "cwd": "/srv/ünï"})
    assert store.get(KEY) == "session-1"
    row = store.lineage(KEY, []).row
    assert row is not None
    assert (row.key, row.session_id) == (KEY, "session-1")
    assert row.metadata == {"kind": "user", "cwd": "/srv/ünï"}


@pytest.mark.acceptance(4, 19)
def test_triple_is_the_key(store: SessionStore) -> None:
    keys = [SessionKey(scope, "u1", by) for scope in ("goclaw", "openclaw") for by in ("a", "b")]
    for number, key in enumerate(keys):
        store.set(key, f"session-{number}")
    assert store.count() == 4
    assert [store.get(key) for key in keys] == [f"session-{number}" for number in range(4)]


@pytest.mark.acceptance(19)
def test_upsert_keeps_created_at_and_merges_metadata(store: SessionStore, clock: Clock) -> None:
    store.set(KEY, "session-1", {"kind": "user", "cwd": "/a"})
    clock.now += 60
    store.set(KEY, "session-2", {"cwd": "/b"})
    row = store.lineage(KEY, []).row
    assert row is not None
    assert row.session_id == "session-2"
    assert (row.created_at, row.last_used_at) == (1_000_000.0, 1_000_060.0)
    assert row.metadata == {"kind": "user", "cwd": "/b"}
    assert store.count() == 1


@pytest.mark.acceptance(19)
def test_delete_takes_the_points_and_leaves_the_ledger(store: SessionStore) -> None:
    store.commit(turn())
    held = store.delete(KEY)
    assert held is not None and held.sessions == ("session-1",)
    assert store.get(KEY) is None
    assert store.lineage(KEY, ["ask", "history"]).points == ()
    assert [row.turns for row in store.costs("platform")] == [1]


@pytest.mark.acceptance(19)
def test_delete_missing_is_false(store: SessionStore) -> None:
    assert store.delete(KEY) is None


@pytest.mark.acceptance(19)
def test_count(store: SessionStore) -> None:
    for number in range(3):
        store.set(replace(KEY, external_id=str(number)), f"session-{number}")
    assert store.count() == 3


@pytest.mark.acceptance(19)
def test_get_touches_time_and_lineage_does_not(store: SessionStore, clock: Clock) -> None:
    store.set(KEY, "session-1")
    clock.now += 5
    before = store.lineage(KEY, []).row
    store.get(KEY)
    after = store.lineage(KEY, []).row
    assert before is not None and before.last_used_at == 1_000_000.0
    assert after is not None and after.last_used_at == 1_000_005.0


@pytest.mark.acceptance(19, 29)
def test_pruning_forgets_what_was_not_used(store: SessionStore, clock: Clock) -> None:
    used = replace(KEY, external_id="used")
    store.commit(turn())
    store.commit(turn(key=used, internal_id="session-2"))
    clock.now += 3600
    store.get(used)
    assert (store.stale(3600), store.delete(KEY, 3600)) == ([], None)
    clock.now += 1
    assert store.stale(3600) == [KEY]
    assert store.delete(KEY, 3600) is not None
    assert store.delete(used, 3600) is None
    assert store.get(KEY) is None
    assert store.lineage(KEY, ["history"]).points == ()
    assert store.get(used) == "session-2"
    assert len(store.lineage(used, ["history"]).points) == 1
    assert [row.turns for row in store.costs("platform")] == [2]


@pytest.mark.parametrize(
    "external_id",
    ["a:b/c", "a/b:c", "../../etc", 'it\'s "quoted"; --', "größe 会話 🦀", "%_*?#", " ", "x" * 255],
)
def test_any_id_is_only_itself(store: SessionStore, external_id: str) -> None:
    key = SessionKey("goclaw", external_id, "claude")
    store.set(SessionKey("goclaw", "other", "claude"), "other")
    store.commit(turn(key=key, internal_id="mine"))
    assert store.get(key) == "mine"
    assert len(store.lineage(key, ["history"]).points) == 1
    assert [row.group["user"] for row in store.costs("user")] == [external_id]
    assert store.delete(key)
    assert store.count() == 1


@pytest.mark.acceptance(27)
def test_separators_in_ids_do_not_collide(store: SessionStore) -> None:
    keys = [SessionKey("a", "b:c", "d"), SessionKey("a:b", "c", "d"), SessionKey("a", "b", "c:d")]
    for number, key in enumerate(keys):
        store.set(key, str(number))
    assert [store.get(key) for key in keys] == ["0", "1", "2"]


# -- the file -------------------------------------------------------------------------------------


@pytest.mark.acceptance(2)
def test_journal_mode_is_wal(path: Path) -> None:
    SessionStore.open(path).close()
    assert query(path, "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_only_the_owner_can_read_the_files_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        with closing(SessionStore.open(path)) as store:
            store.set(KEY, "session-1")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert set(modes.values()) == {0o600}
    assert {"session_map.db", "session_map.db-wal", "session_map.db-shm"} <= set(modes)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.acceptance(1)
def test_survives_reopen(path: Path) -> None:
    with closing(SessionStore.open(path)) as store:
        turn_id = store.commit(turn())
    with closing(SessionStore.open(path)) as store:
        assert store.get(KEY) == "session-1"
        tip = store.lineage(KEY, []).tip
        assert tip == Point("history", "session-1", "tip", turn_id, True)


def test_closing_leaves_one_database_file(path: Path) -> None:
    with closing(SessionStore.open(path)) as store:
        store.set(KEY, "session-1")
    assert not path.with_name("session_map.db-wal").exists()


def test_a_closed_store_says_so(path: Path) -> None:
    store = SessionStore.open(path)
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.get(KEY)


def test_a_later_schema_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(SessionStore.open(path)) as store:
        store.set(KEY, "session-1")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('sessionbridge', 'm999_from_the_future', '2099-01-01')"
        )
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"a later version .*\(m999_from_the_future\)"):
            SessionStore.open(path)
    assert path.read_bytes() == before
    assert list(path.parent.glob("*.corrupt*")) == []


def test_the_ledger_never_holds_a_column_for_text(store: SessionStore) -> None:
    store.commit(turn())
    (columns,) = store._engine.read(lambda db: [set(row) for row in db.query(TURNS, {})])
    assert not columns & {"prompt", "answer", "text", "content", "messages"}


# -- the lineage ----------------------------------------------------------------------------------


def test_commit_stores_all_of_a_turn(store: SessionStore) -> None:
    turn_id = store.commit(turn())
    lineage = store.lineage(KEY, ["ask", "history"])
    assert lineage.row is not None and lineage.row.metadata == {"kind": "conversation"}
    assert lineage.tip == Point("history", "session-1", "tip", turn_id, True)
    assert set(lineage.points) == {
        Point("ask", "session-1", "entry-ask", turn_id, False),
        Point("history", "session-1", "tip", turn_id, True),
    }


def test_a_point_is_no_tip_once_something_follows(store: SessionStore) -> None:
    first = store.commit(turn())
    second = store.commit(
        turn(parent_id=first, history_hash="h2", tip_uuid="tip2", points=(("h2", "tip2"),))
    )
    lineage = store.lineage(KEY, ["history", "h2"])
    assert lineage.points == (
        Point("h2", "session-1", "tip2", second, True),
        Point("history", "session-1", "tip", first, False),
    )
    assert lineage.tip == lineage.points[0]


def test_lineage_knows_how_the_newest_turn_began(store: SessionStore) -> None:
    first = store.commit(turn(idempotency_key="k1"))
    lineage = store.lineage(KEY, [])
    assert (lineage.asked, lineage.request, lineage.before) == ("ask", "k1", None)
    store.commit(turn(parent_id=first, ask_hash="ask2", history_hash="h2", tip_uuid="tip2"))
    lineage = store.lineage(KEY, [])
    assert (lineage.asked, lineage.request) == ("ask2", None)
    assert lineage.before == Point("history", "session-1", "tip", first, False)


def test_what_a_fork_began_from_is_still_the_tip_of_its_own_session(store: SessionStore) -> None:
    first = store.commit(turn())
    fork = turn(internal_id="session-2", parent_id=first, history_hash="h2", tip_uuid="tip2")
    store.commit(fork)
    assert store.lineage(KEY, []).before == Point("history", "session-1", "tip", first, True)
    store.commit(turn(key=replace(KEY, external_id="other"), internal_id="session-3"))
    assert store.lineage(KEY, []).asked == "ask"
    assert store.lineage(replace(KEY, external_id="other"), []).before is None


def test_a_mapped_session_without_turns_has_no_newest_one(store: SessionStore) -> None:
    store.set(KEY, "session-1")
    lineage = store.lineage(KEY, [])
    assert (lineage.tip, lineage.asked, lineage.request, lineage.before) == (None,) * 4


def test_a_fork_has_its_own_tip(store: SessionStore) -> None:
    store.commit(turn())
    fork = store.commit(
        turn(internal_id="session-2", history_hash="h2", tip_uuid="tip2", points=(("h2", "tip2"),))
    )
    lineage = store.lineage(KEY, ["history", "h2"])
    assert {point.hash: point.is_tip for point in lineage.points} == {"history": True, "h2": True}
    assert lineage.tip == Point("h2", "session-2", "tip2", fork, True)


def test_points_belong_to_one_key(store: SessionStore) -> None:
    store.commit(turn())
    for other in ({"scope": "x"}, {"external_id": "x"}, {"provider": "x"}):
        assert store.lineage(replace(KEY, **other), ["history"]).points == ()


def test_the_same_point_twice_is_kept_once(store: SessionStore) -> None:
    first = store.commit(turn())
    store.commit(turn())
    points = store.lineage(KEY, ["ask", "ask"]).points
    assert [point.turn_id for point in points] == [first]


def test_thousands_of_hashes_are_one_question(store: SessionStore) -> None:
    known = tuple((f"h{number}", f"e{number}") for number in range(0, 20_000, 2))
    store.commit(turn(points=known))
    asked = [f"h{number}" for number in range(10_000)]
    found = store.lineage(KEY, [*asked, "h12000"]).points
    assert {point.hash for point in found} == {"h9998", "h12000"}, "the longest, and the whole"
    assert store.lineage(KEY, ["h1", "h3", "h5"]).points == ()


def test_a_turn_that_fails_to_commit_leaves_nothing(store: SessionStore) -> None:
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        store.commit(turn(points=(("history", "tip"), (None, "broken"))))
    assert store.get(KEY) is None
    assert store.costs("platform") == []
    assert store.lineage(KEY, ["history"]).points == ()


def test_a_lost_session_is_not_continued_again(store: SessionStore) -> None:
    store.commit(turn())
    store.commit(turn(internal_id="session-2"))
    store.forget_session("session-2", unmap=False)
    assert store.get(KEY) == "session-2"
    store.forget_session("session-2", unmap=True)
    lineage = store.lineage(KEY, ["history"])
    assert lineage.row is None
    assert [point.session_id for point in lineage.points] == ["session-1"]
    assert [row.turns for row in store.costs("platform")] == [2]
