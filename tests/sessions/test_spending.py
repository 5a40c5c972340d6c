"""Which turns budgets and rates let begin, on each engine, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any, Literal

import pytest

from sessionbridge.allowances import Allowance, Budget
from sessionbridge.errors import OverBudget, RateLimited
from sessionbridge.model import Usage
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.spending import Limited, Reserved, Used
from sessionbridge.sessions.store.store import SessionStore
from tests.support.postgres_stores import node_store
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import turn

MONDAY = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
LASTS = 600.0


class Clock:
    def __init__(self) -> None:
        self.now = MONDAY

    def __call__(self) -> float:
        return self.now


@dataclass
class Client:
    """One whose turns may each use `a_turn`."""

    store: SessionStore
    limited: Limited
    a_turn: Used = Used(1.0, 100)

    def begin(self, **changes: Any) -> Reserved:
        reserved = replace(Reserved.anew(self.limited.name, "claude", LASTS), **changes)
        self.store.reserve(reserved, [self.limited], lambda base: self.a_turn, None)
        return reserved

    def fits(self) -> bool:
        try:
            self.store.settle(self.begin(), None)
        except RateLimited:
            return False
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[SessionStore]:
    with opened_store(request, tmp_path, clock) as opened:
        yield opened


def client(store: SessionStore, *budgets: Budget, name: str = "ann", **rates: int) -> Client:
    return Client(store, Limited("client", name, Allowance(budgets=budgets, **rates)))


def test_a_turn_begins_that_may_use_what_is_left_and_no_more(store: SessionStore) -> None:
    ann = client(store, Budget(per="day", usd=2.5))
    first = ann.begin()
    ann.begin()
    with pytest.raises(OverBudget) as refused:
        ann.begin()
    assert refused.value.message == (
        "The budget of client ann, 2.50 USD a day, has 0.50 USD left, and this turn may use 1.00 "
        "USD. The next day begins at 2026-12-01 00:00 UTC."
    )
    assert refused.value.retry_after == DAY / 2
    store.settle(first, Used(0.25, 30))
    assert store.use(ann.limited).budgets[0].used == 1.25
    ann.begin()
    assert not ann.fits()


def test_a_budget_counts_tokens_or_dollars_and_each_holds(store: SessionStore) -> None:
    ann = client(store, Budget(per="day", usd=100), Budget(per="month", tokens=150))
    ann.begin()
    with pytest.raises(OverBudget, match=r"150 tokens a month, has 50 tokens left") as refused:
        ann.begin()
    assert refused.value.retry_after == DAY / 2  # the last day of November


def test_of_several_that_are_used_up_the_last_to_end_is_told(store: SessionStore) -> None:
    ann = client(store, Budget(per="day", usd=1), Budget(per="week", usd=1))
    ann.begin()
    with pytest.raises(OverBudget, match="a week") as refused:
        ann.begin()
    assert refused.value.retry_after == 6.5 * DAY


@pytest.mark.parametrize("budget", [Budget(per="day", usd=0), Budget(per="day", tokens=0)])
def test_a_budget_of_nothing_lets_nothing_begin(store: SessionStore, budget: Budget) -> None:
    for a_turn in (Used(1.0, 1), Used(0.0, 0)):
        nobody = replace(client(store, budget), a_turn=a_turn)
        with pytest.raises(
            OverBudget, match="a day, lets no turn begin; have it raised"
        ) as refused:
            nobody.begin()
        assert refused.value.retry_after is None


def test_what_no_window_has_room_for_is_not_to_be_tried_again(store: SessionStore) -> None:
    """Whatever else is used up, and for how long."""
    ann = client(store, Budget(per="day", usd=0.5), Budget(per="month", tokens=100))
    store.settle(replace(ann, a_turn=Used(0.25, 100)).begin(), Used(0.25, 100))
    with pytest.raises(OverBudget) as refused:
        ann.begin()
    assert refused.value.message == (
        "The budget of client ann, 0.50 USD a day, is less than the 1.00 USD that this turn may "
        "use; allow it a shorter answer, or have the budget raised."
    )
    assert refused.value.retry_after is None


def test_what_was_never_asked_costs_nothing(store: SessionStore) -> None:
    ann = client(store, Budget(per="day", usd=1), turns_at_once=1, turns_a_minute=1)
    store.settle(ann.begin(), None)
    known = store.use(ann.limited)
    assert (known.budgets[0].used, known.lately, known.at_once) == (0, 0, 0)


@pytest.mark.parametrize(("per", "days"), [("day", 0.5), ("week", 6.5), ("month", 0.5)])
def test_a_window_ends_and_the_next_begins_anew(
    store: SessionStore, clock: Clock, per: Literal["day", "week", "month"], days: float
) -> None:
    ann = client(store, Budget(per=per, usd=1))
    store.settle(ann.begin(), Used(1.0, 1))
    clock.now += days * DAY - 1
    assert not ann.fits()
    clock.now += 1
    assert ann.fits()


def test_turns_at_once_are_those_that_have_not_ended(store: SessionStore) -> None:
    ann = client(store, turns_at_once=2)
    first = ann.begin()
    ann.begin()
    with pytest.raises(RateLimited, match="has 2 turns under way, and may have 2 at once"):
        ann.begin()
    store.settle(first, Used(0, 0))
    assert ann.fits()


def test_turns_a_minute_have_room_when_the_oldest_is_a_minute_old(
    store: SessionStore, clock: Clock
) -> None:
    ann = client(store, turns_a_minute=2)
    for _ in range(2):
        store.settle(ann.begin(), Used(0, 0))
        clock.now += 10
    with pytest.raises(RateLimited, match=r"has begun 2 turns within a minute.* in 40 s") as told:
        ann.begin()
    assert (told.value.retry_after, isinstance(told.value, OverBudget)) == (40, False)
    clock.now += 39
    assert not ann.fits()
    clock.now += 1
    assert ann.fits()


def test_one_clients_turns_are_none_of_anothers_but_of_the_providers(store: SessionStore) -> None:
    both = Allowance(budgets=(Budget(per="day", usd=1),))
    ann = client(store, Budget(per="day", usd=1))
    ann.begin()
    assert client(store, Budget(per="day", usd=1), name="bob").fits()
    with pytest.raises(OverBudget, match="of provider claude") as refused:
        replace(ann, limited=Limited("provider", "claude", both)).begin()
    assert refused.value.of == "provider"
    assert replace(ann, limited=Limited("provider", "other", both)).fits()


def test_a_killed_process_leaves_the_estimate_and_a_turn_that_ends_in_time(
    store: SessionStore, clock: Clock
) -> None:
    ann = client(store, Budget(per="day", usd=1.5), turns_at_once=1)
    ann.begin()  # and is never settled
    clock.now += LASTS - 1
    assert store.use(ann.limited).at_once == 1
    clock.now += 1
    known = store.use(ann.limited)
    assert (known.at_once, known.budgets[0].used) == (0, 1.0)
    assert not ann.fits()


def test_a_clock_that_jumps_gives_nothing_back(store: SessionStore, clock: Clock) -> None:
    ann = client(store, Budget(per="day", usd=1), turns_a_minute=1)
    clock.now += 40 * DAY
    ann.begin()  # and its process is killed
    clock.now = MONDAY
    assert not ann.fits()
    # Rates are another matter: for 40 days that turn would have begun just now, and be under way.
    known = store.use(ann.limited)
    assert (known.lately, known.at_once) == (0, 0)


@pytest.mark.parametrize("days", [31, 400, -31, -400])
def test_what_was_used_counts_once_the_clock_is_back(
    store: SessionStore, clock: Clock, days: int
) -> None:
    """Whatever was summed up meanwhile."""
    windows: tuple[Literal["day", "week", "month"], ...] = ("day", "week", "month")
    for number, per in enumerate(windows, 1):
        clock.now = MONDAY
        ann = client(store, Budget(per=per, usd=1), name=f"ann-{per}")
        store.settle(ann.begin(), ann.a_turn)
        clock.now += days * DAY
        small = replace(ann, a_turn=Used(0.01, 1))
        if days > 0:
            store.settle(small.begin(id=64 * number), small.a_turn)
        else:
            assert not small.fits()
        clock.now = MONDAY
        assert not small.fits()
        clock.now += days * DAY
        assert not ann.fits()


def test_the_turn_before_is_known_to_the_estimate(store: SessionStore) -> None:
    before = store.commit(turn(model="claude-opus-4-5", usage=Usage(1, 2, 3, 4, 5)))
    seen: list[Any] = []

    def estimate(base: tuple[str, Usage] | None) -> Used:
        seen.append(base)
        return Used(0.5, 7)

    ann = client(store, turns_at_once=9).limited
    for base in (before, before + 1, None):
        expected = store.reserve(Reserved.anew("ann", "claude", LASTS), [ann], estimate, base)
        assert expected == Used(0.5, 7)
    assert seen == [("claude-opus-4-5", Usage(1, 2, 3, 4, 5)), None, None]


def test_a_days_turns_become_one_and_the_sums_stay(store: SessionStore, clock: Clock) -> None:
    """Also over the days, and those of a process that was killed."""
    ann = client(store, Budget(per="month", usd=1000), Budget(per="day", tokens=100_000))
    numbers = count(1)
    clock.now = datetime(2026, 11, 1, 22, tzinfo=UTC).timestamp()
    for _ in range(20):
        reserved = ann.begin(id=next(numbers))
        if reserved.id % 5:
            store.settle(reserved, Used(0.5, 50))
        clock.now += 3600
    before = [budget.used for budget in store.use(ann.limited).budgets]
    assert before == [16 * 0.5 + 4, (14 * 50 + 4 * 100)]
    store.settle(ann.begin(id=64), None)
    assert [budget.used for budget in store.use(ann.limited).budgets] == before
    assert _rows(store) == 2
    clock.now += 90 * DAY
    store.settle(ann.begin(id=128), None)
    assert [budget.used for budget in store.use(ann.limited).budgets] == [0, 0]
    assert _rows(store) == 2


def _rows(store: SessionStore) -> int:
    sql = "SELECT count(*) AS n FROM spending"
    (row,) = store.engine.read(lambda db: list(db.query(sql, {})))
    return int(row["n"])


@pytest.mark.parametrize("engine", ENGINES)
def test_of_those_that_ask_at_once_as_many_begin_as_there_is_room_for(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Three processes of one home, or three nodes; each time there is room for one turn."""
    times, begin = 30, Barrier(3)
    one_turn = Allowance(budgets=(Budget(per="day", usd=1.5),))
    with ExitStack() as opened:
        if engine == "sqlite":
            path = Home(tmp_path).database
            stores = [SessionStore.open(path) for _ in range(3)]
            for one in stores:
                opened.callback(one.close)
        else:
            url = request.getfixturevalue("database")
            stores = [opened.enter_context(node_store(url)).store for _ in range(3)]

        def asks(store: SessionStore) -> list[bool]:
            begun = []
            for number in range(times):
                client = Client(store, Limited("client", f"client-{number}", one_turn))
                begin.wait()
                try:
                    client.begin()
                except OverBudget:
                    begun.append(False)
                else:
                    begun.append(True)
            return begun

        with ThreadPoolExecutor(3) as threads:
            told = [*threads.map(asks, stores)]
    assert [sum(each) for each in zip(*told, strict=True)] == [1] * times
