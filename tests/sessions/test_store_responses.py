"""Responses found by their ids, and turns that wait for results, in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.sessions.store.store import SessionStore
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import KEY, turn


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with opened_store(request, tmp_path) as store:
        yield store


def commit(
    store: SessionStore, name: str, parent: int | None, *, waits: bool = False, **more: Any
) -> int:
    status = "tool_use" if waits else "end_turn"
    ask, end = (f"ask-{name}", f"{name} asked"), (f"end-{name}", f"{name} ended")
    return store.commit(
        turn(
            parent_id=parent,
            ask_hash=ask[0],
            history_hash=end[0],
            tip_uuid=end[1],
            response_id=f"msg_{name}",
            status=status,
            points=(ask,) if waits else (ask, end),
            **more,
        )
    )


def test_a_response_is_known_by_its_id(store: SessionStore) -> None:
    one = commit(store, "one", None)
    two = commit(store, "two", one)
    first, second = store.response("msg_one"), store.response("msg_two")
    assert first is not None and second is not None
    assert (first.key, first.before) == (KEY, None)
    assert (first.end.entry_uuid, first.end.turn_id, first.end.is_tip) == ("one ended", one, False)
    assert (second.end.turn_id, second.end.is_tip, second.end.is_open) == (two, True, False)
    assert second.before == first.end
    assert (first.origin.platform, first.origin.external_id) == (KEY.scope, KEY.external_id)
    assert first.origin.history == "server"
    assert store.response("msg_other") is None


def test_a_response_of_a_client_leads_to_its_own_key(store: SessionStore) -> None:
    commit(store, "one", None, key=replace(KEY, scope="ann:goclaw"), client="ann")
    found = store.response("msg_one")
    assert found is not None
    assert (found.origin.client, found.origin.platform) == ("ann", "goclaw")
    assert found.origin.scope == found.key.scope


def test_the_newest_of_two_responses_with_one_id_is_meant(store: SessionStore) -> None:
    commit(store, "same", None)
    newest = commit(store, "same", None, internal_id="session-2")
    found = store.response("msg_same")
    assert found is not None and found.end.turn_id == newest


def test_the_turn_that_ended_last_is_found_behind_all_that_wait(store: SessionStore) -> None:
    one = commit(store, "one", None)
    two = commit(store, "two", one, waits=True)
    three = commit(store, "three", two, waits=True)
    four = commit(store, "four", three)
    five = commit(store, "five", four, waits=True)
    found = [store.last_ended(turn) for turn in (one, two, three, four, five)]
    assert [point and point.turn_id for point in found] == [one, one, one, four, four]
    alone = commit(store, "alone", None, waits=True, internal_id="session-2")
    assert store.last_ended(alone) is None
    assert store.last_ended(999) is None


def test_a_turn_that_waits_is_found_by_what_it_said(store: SessionStore) -> None:
    one = commit(store, "one", None, waits=True)
    found = store.lineage(KEY, ["ask-one", "end-one", "results"]).open_turn
    assert found is not None
    assert (found.turn_id, found.entry_uuid, found.is_tip, found.is_open) == (
        one,
        "one ended",
        True,
        True,
    )
    for hashes in (["ask-one", "end-one"], ["ask-one", "other", "results"], ["end-one"], []):
        assert store.lineage(KEY, hashes).open_turn is None
    assert store.lineage(KEY, ["end-one", "results"]).points == ()

    commit(store, "two", one)
    left = store.lineage(KEY, ["ask-one", "end-one", "results"]).open_turn
    assert left is not None and not left.is_tip


def test_another_keys_turn_is_not_waited_for(store: SessionStore) -> None:
    commit(store, "one", None, waits=True)
    other = replace(KEY, external_id="agent:main:http:direct:bob")
    assert store.lineage(other, ["ask-one", "end-one", "results"]).open_turn is None
