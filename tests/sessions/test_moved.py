"""Which provider has the newest turn of a conversation that several have turns of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sessionbridge.sessions.planning.moved import newest
from sessionbridge.sessions.store.queries import Held
from sessionbridge.sessions.store.store import SessionStore
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import KEY, turn

OF_KEY = replace(KEY, provider="key")


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with opened_store(request, tmp_path) as opened:
        yield opened


def test_what_each_provider_has_of_an_id(store: SessionStore) -> None:
    assert store.whereabouts(KEY) == {}
    assert not store.has_others("claude")
    first = store.commit(turn())
    assert not store.has_others("claude") and store.has_others("key")
    moved = {"moved_from": "claude", "stands_in": None}
    last = store.commit(turn(key=OF_KEY, internal_id="session-2", metadata=moved))
    store.commit(turn(key=replace(KEY, external_id="other"), internal_id="session-3"))
    store.set(replace(KEY, provider="cloud"), "session-4", {"stands_in": "claude"})
    aside = {"settings_hash": "other", "may_be_aside": True, "internal_id": "session-5"}
    store.commit(turn(plan="fresh", metadata={"history": "client"}, **aside))
    assert store.has_others("claude")
    assert store.whereabouts(KEY) == {
        "claude": Held(first, history="client"),
        "key": Held(last, "claude"),
        "cloud": Held(None, None, "claude"),
    }


def test_whether_another_provider_knows_a_place(store: SessionStore) -> None:
    store.commit(turn(points=[("one", "entry-1"), ("two", "entry-2")]))
    assert store.is_known_elsewhere(OF_KEY, ["none", "two"])
    assert not store.is_known_elsewhere(OF_KEY, ["none"])
    assert not store.is_known_elsewhere(OF_KEY, [])
    assert not store.is_known_elsewhere(KEY, ["one"])  # that is not elsewhere
    assert not store.is_known_elsewhere(replace(OF_KEY, external_id="other"), ["one"])


@pytest.mark.parametrize(
    ("held", "provider"),
    [
        ({}, "a"),
        ({"a": Held(1)}, "a"),
        ({"a": Held(1), "b": Held(2)}, "a"),  # two conversations
        ({"a": Held(1), "b": Held(2, "a")}, "b"),
        ({"a": Held(3, "b"), "b": Held(2, "a")}, "a"),
        ({"a": Held(1), "b": Held(2, "a"), "c": Held(3, "b")}, "c"),
        ({"b": Held(1, "a")}, "b"),  # it had begun there
        ({"a": Held(1), "b": Held(2, None, "a")}, "a"),  # that only stands in
    ],
)
def test_the_newest_turn_counts_of_those_it_has_moved_between(
    held: dict[str, Held], provider: str
) -> None:
    assert newest(held, "a") == provider
