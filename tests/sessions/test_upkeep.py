"""Which keys a name means, what each holds, and forgetting what nothing will continue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.store.ledger import PassedTurn
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import KEY, turn

OTHER = replace(KEY, external_id="other")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session_map.db"


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[SessionStore]:
    with opened_store(request, path.parent) as opened:
        yield opened


def bring_in(store: SessionStore, session: str, **changes: Any) -> int:
    record = turn(internal_id=session, plan="import", reason="imported", tip_uuid=f"tip-{session}")
    return store.commit(replace(record, **changes))


# -- an import that replaces another --------------------------------------------------------------


def test_an_import_nothing_came_of_is_replaced_by_the_next(store: SessionStore) -> None:
    bring_in(store, "s1")
    second = bring_in(store, "s2")
    assert store.replaced_import(KEY, second) == "s1"
    lineage = store.lineage(KEY, ["history", "ask"])
    assert {point.session_id for point in lineage.points} == {"s2"}
    assert lineage.row is not None and lineage.row.session_id == "s2"
    assert [row.turns for row in store.costs("platform")] == [2]


def test_each_import_of_a_row_replaces_the_one_before(store: SessionStore) -> None:
    replaced = [store.replaced_import(KEY, bring_in(store, f"s{n}")) for n in range(4)]
    assert replaced == [None, "s0", "s1", "s2"]


def test_turns_of_other_keys_in_between_do_not_count(store: SessionStore) -> None:
    bring_in(store, "s1")
    bring_in(store, "o1", key=OTHER)
    second = bring_in(store, "s2")
    bring_in(store, "s3")
    assert store.replaced_import(KEY, second) == "s1"
    assert [p.session_id for p in store.lineage(OTHER, ["history"]).points] == ["o1"]


def test_a_session_that_went_on_is_kept(store: SessionStore) -> None:
    first = bring_in(store, "s1")
    store.commit(turn(internal_id="s1", parent_id=first, plan="resume"))
    assert store.replaced_import(KEY, bring_in(store, "s2")) is None


def test_a_session_that_went_on_before_its_import_is_kept(store: SessionStore) -> None:
    store.commit(turn(internal_id="s1"))
    bring_in(store, "s1")
    assert store.replaced_import(KEY, bring_in(store, "s2")) is None


def test_a_session_that_was_forked_is_kept(store: SessionStore) -> None:
    first = bring_in(store, "s1")
    third = bring_in(store, "s3")
    # Committed while the third was under way.
    fork = store.commit(turn(internal_id="s2", parent_id=first, plan="fork"))
    assert store.replaced_import(KEY, third) is None
    assert store.replaced_import(KEY, fork) is None


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"plan": "fresh"}, {}),
        ({"parent_id": 1}, {}),
        ({}, {"plan": "fork"}),
        ({}, {"parent_id": 1}),
        ({}, {"internal_id": "s1"}),
        ({}, {"key": OTHER}),
    ],
)
def test_only_a_whole_import_after_a_whole_import_replaces(
    store: SessionStore, earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    store.commit(turn(internal_id="s0"))
    bring_in(store, "s1", **earlier)
    newest = bring_in(store, "s2", **later)
    assert store.replaced_import(later.get("key", KEY), newest) is None
    assert store.lineage(KEY, ["history"]).points


def test_a_session_that_is_mapped_is_kept(store: SessionStore) -> None:
    bring_in(store, "s1")
    second = bring_in(store, "s2")
    store.set(KEY, "s1")
    assert store.replaced_import(KEY, second) is None
    assert store.get(KEY) == "s1"


async def test_the_bridge_asks_on_the_thread_of_the_store(path: Path) -> None:
    store = StoreThread(Home(path.parent))
    whole = {"plan": "import", "reason": "imported"}
    await store.commit(turn(internal_id="s1", **whole))
    second = await store.commit(turn(internal_id="s2", **whole))
    assert await store.replaced_import(KEY, second) == "s1"
    assert await store.replaced_import(KEY, second + 1) is None
    store.close()


# -- names ----------------------------------------------------------------------------------------


def test_a_name_is_an_id_then_a_platform_and_id_then_a_session(store: SessionStore) -> None:
    keys = [SessionKey("a", "b/c", "claude"), SessionKey("a/b", "c", "claude")]
    plain = SessionKey("x", "a/b/c", "claude")
    for number, key in enumerate(keys):
        store.set(key, f"session-{number}")
    assert store.find("b/c") == [keys[0]]
    assert store.find("c") == [keys[1]]
    assert store.find("a/b/c") == keys
    store.set(plain, "c")
    assert store.find("a/b/c") == [plain]
    assert store.find("c") == [keys[1]]
    assert store.find("session-0") == [keys[0]]
    assert store.find("nobody") == store.find("") == store.find("%") == []


def test_a_forgotten_key_is_found_in_the_ledger(store: SessionStore) -> None:
    store.commit(turn())
    store.delete(KEY)
    assert store.find(KEY.external_id) == store.find("session-1") == [KEY]
    assert store.holdings(KEY).row is None


@pytest.mark.parametrize("name", ["api.openai.com", "passthrough/api.openai.com", ""])
def test_what_passed_through_is_no_conversation(store: SessionStore, name: str) -> None:
    store.passed(PassedTurn("api.openai.com", "chat", "gpt-4o", "stop", Usage(), None, 1.0, 9))
    assert store.turns(SessionKey("passthrough", "api.openai.com", "api.openai.com"))
    assert store.find(name) == []


# -- holdings -------------------------------------------------------------------------------------


def test_the_sessions_of_a_key_are_its_own_the_oldest_first(store: SessionStore) -> None:
    for session in ("z", "a", "z", "shared"):
        store.commit(turn(internal_id=session))
    store.commit(turn(key=OTHER, internal_id="shared"))
    assert store.holdings(KEY).sessions == ("z", "a")
    store.set(OTHER, "a")
    assert store.holdings(KEY).sessions == ("z",)
    assert store.holdings(OTHER).sessions == ()


def test_points_of_a_key_that_lost_its_place_are_forgotten_too(store: SessionStore) -> None:
    store.commit(turn())
    store.commit(turn(internal_id="session-2"))
    store.forget_session("session-2", unmap=True)
    held = store.delete(KEY)
    assert held is not None and held.row is None
    assert store.lineage(KEY, ["history"]).points == ()
    assert store.delete(KEY) is None


def test_turns_are_read_back_as_they_were_committed(store: SessionStore) -> None:
    first = store.commit(turn(idempotency_key="k", cost_usd=None, ttft_ms=None))
    store.commit(turn(key=OTHER))
    second = store.commit(turn(parent_id=first))
    one, two = store.turns(KEY)
    assert (one.id, one.parent_id, two.id, two.parent_id) == (first, None, second, first)
    names = set(one.__slots__) - {"id"}
    record = turn(idempotency_key="k", cost_usd=None, ttft_ms=None)
    assert {name: getattr(one, name) for name in names} == {n: getattr(record, n) for n in names}


def test_a_keys_newest_turn_needs_no_walk_through_the_ledger(path: Path) -> None:
    store = SessionStore.open(path)
    sql = "EXPLAIN QUERY PLAN SELECT max(id) FROM turns WHERE scope = :a AND external_id = :b "
    sql += "AND provider = :c AND id < 9"
    plan = store._engine.read(lambda db: list(db.query(sql, dict(a="a", b="b", c="c"))))
    assert "SEARCH turns USING COVERING INDEX" in str(plan)
    store.close()
