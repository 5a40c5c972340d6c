"""The sums of the ledger, as the commands show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.reports.sums import ALTERED, LOST, WINDOW
from sessionbridge.sessions.store.store import SessionStore
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import KEY, turn


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    times = iter((1_000_000.0, 1_000_010.0))
    with opened_store(request, tmp_path, lambda: next(times, 1_000_020.0)) as opened:
        yield opened


@pytest.mark.acceptance(15, 29)
def test_sessions_sum_up_every_turn_of_the_key(store: SessionStore) -> None:
    store.commit(turn())
    store.commit(turn(internal_id="session-2", plan="fork", reason="branched", cost_usd=None))
    store.set(replace(KEY, external_id="idle"), "session-3")
    totals = {row.key.external_id: row for row in store.sessions()}
    talked, idle = totals[KEY.external_id], totals["idle"]
    assert (talked.internal_id, talked.plan, talked.reason) == ("session-2", "fork", "branched")
    assert (talked.turns, talked.usage) == (2, Usage(20, 40, 60, 80))
    assert (talked.cost_usd, talked.unpriced) == (0.25, 1)
    assert (talked.created_at, talked.last_used_at) == (1_000_000.0, 1_000_010.0)
    assert talked.usage.cache_hit == 0.5
    assert (idle.turns, idle.usage, idle.cost_usd, idle.plan) == (0, Usage(), None, None)
    assert idle.usage.cache_hit is None


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("platform", [{"platform": "other"}, {"platform": "goclaw"}]),
        (
            "user",
            [
                {"client": "", "platform": "other", "user": "u"},
                {"client": "", "platform": "goclaw", "user": "u"},
            ],
        ),
        (
            "session",
            [
                {"client": "", "platform": "other", "session": "s2"},
                {"client": "", "platform": "goclaw", "session": "s1"},
            ],
        ),
        ("model", [{"model": "big"}, {"model": "small"}]),
        ("provider", [{"provider": "work"}, {"provider": "claude"}]),
    ],
)
def test_costs_are_grouped_and_the_dearest_comes_first(
    store: SessionStore, by: Any, groups: list[dict[str, str]]
) -> None:
    one, two = SessionKey("goclaw", "u", "claude"), SessionKey("other", "u", "work")
    store.commit(turn(key=one, internal_id="s1", model="small"))
    store.commit(turn(key=one, internal_id="s1", model="small", started_at=1_000_060.0))
    store.commit(turn(key=two, internal_id="s2", model="big", cost_usd=2.0))
    rows = store.costs(by)
    assert [row.group for row in rows] == groups
    assert [(row.turns, row.cost_usd) for row in rows] == [(1, 2.0), (2, 0.5)]
    assert (rows[1].first_at, rows[1].last_at) == (1_000_000.0, 1_000_060.0)
    assert rows[1].usage == Usage(20, 40, 60, 80)


def test_clients_and_platforms_are_told_apart(store: SessionStore) -> None:
    """The conversations of a client are in a scope of its own, but for those that it has created,
    whose ids are nobody else's."""
    for client, scope in (("ann", "ann:goclaw"), ("bob", "bob:goclaw"), (None, "goclaw")):
        store.commit(turn(key=SessionKey(scope, "u", "claude"), client=client))
    store.commit(turn(key=SessionKey("responses", "conv_1", "claude"), client="ann"))
    by_platform = [(row.group["platform"], row.turns) for row in store.costs("platform")]
    assert by_platform == [("goclaw", 3), ("responses", 1)]
    by_client = {row.group["client"]: row.turns for row in store.costs("client")}
    assert by_client == {"ann": 2, "bob": 1, "": 1}
    users = {tuple(row.group.values()) for row in store.costs("user")}
    goclaw = {(client, "goclaw", "u") for client in ("ann", "bob", "")}
    assert users == {*goclaw, ("ann", "responses", "conv_1")}
    keys = {(row.key.client, row.key.platform) for row in store.sessions()}
    assert keys == {("ann", "goclaw"), ("bob", "goclaw"), ("", "goclaw"), ("", "responses")}


def test_costs_by_day_come_in_order(store: SessionStore) -> None:
    day = 86_400.0
    for number in (2, 0, 1):
        store.commit(turn(started_at=1_000_000.0 + number * day))
    days = [row.group["day"] for row in store.costs("day")]
    assert len(days) == 3
    assert days == sorted(days)


def test_costs_since(store: SessionStore) -> None:
    store.commit(turn(started_at=100.0))
    store.commit(turn(started_at=200.0))
    assert [row.turns for row in store.costs("platform", 100.5)] == [1]
    assert [row.turns for row in store.costs("platform", 200.0)] == [1]
    assert store.costs("platform", 200.5) == []


def test_a_cost_nobody_reported_is_unknown_not_zero(store: SessionStore) -> None:
    store.commit(turn(cost_usd=None))
    (row,) = store.costs("platform")
    assert (row.cost_usd, row.unpriced) == (None, 1)


WHOLE = {"plan": "import", "reason": "imported"}
PARTIAL = {**WHOLE, "parent_id": 1}
GOES_ON = {"plan": "resume", "reason": "continued"}
FORGETS = {"plan": "fresh", "reason": "memory_lost"}
ANEW = {"plan": "import", "reason": "started_over"}


@pytest.mark.parametrize(
    ("turns", "imports", "cause"),
    [
        ([WHOLE, WHOLE], 2, None),
        ([WHOLE, GOES_ON, GOES_ON], 1, None),
        ([WHOLE, WHOLE, GOES_ON, GOES_ON], 2, None),
        ([WHOLE, WHOLE, GOES_ON], 2, WINDOW),
        ([WHOLE, PARTIAL, PARTIAL], 3, ALTERED),
        ([WHOLE, WHOLE, PARTIAL], 3, WINDOW),
        ([FORGETS, WHOLE, FORGETS, WHOLE], 2, LOST),
        ([FORGETS, FORGETS, GOES_ON], 0, LOST),
        ([FORGETS, WHOLE, WHOLE, WHOLE, WHOLE, WHOLE], 5, WINDOW),
        ([ANEW, ANEW, ANEW], 0, None),
        # Only the twenty newest count.
        ([WHOLE] * 30 + [GOES_ON] * 20, 0, None),
        ([GOES_ON] * 30 + [WHOLE] * 11 + [GOES_ON] * 9, 11, WINDOW),
        # What came before the oldest of them still explains it.
        ([FORGETS] + [WHOLE] * 20, 20, WINDOW),
    ],
)
def test_the_likely_cause_of_many_imports(
    store: SessionStore, turns: list[dict[str, Any]], imports: int, cause: str | None
) -> None:
    for changes in turns:
        store.commit(turn(**changes))
        store.commit(turn(key=replace(KEY, external_id="other"), **GOES_ON))
    row = next(row for row in store.sessions() if row.key == KEY)
    assert (row.recent_turns, row.imports, row.cause) == (min(len(turns), 20), imports, cause)
