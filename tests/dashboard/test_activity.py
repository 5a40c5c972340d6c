"""What happened when: buckets, percentiles and counts from the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from functools import reduce
from pathlib import Path

import pytest

from sessionbridge.allowances import Allowance, Budget, ClientRules, window
from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.reports.activity import DAY, HOUR, Activity, Counted
from sessionbridge.sessions.store.engine import insert
from sessionbridge.sessions.store.ledger import PASSED
from sessionbridge.sessions.store.store import SessionStore
from tests.support.dashboard_fixtures import keep, known_client, mixed_turns, passing
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import KEY, turn, turn_named

NOW = 1_760_000_000.0


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with opened_store(request, tmp_path, lambda: NOW) as opened:
        yield opened


@pytest.fixture(params=["Asia/Kathmandu", "NPT-5:45"])
def in_kathmandu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the day begins at a quarter past the hour of everybody else."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.delenv("TZ")
    time.tzset()


def commit(store: SessionStore, *times: float, **changes: object) -> None:
    for at in times:
        store.commit(turn(started_at=at, **changes))


def counted(activity: Activity) -> dict[str, int]:
    return {f"{row.plan}/{row.reason}/{row.process}": row.turns for row in activity.counts}


def test_an_empty_ledger_has_no_activity(store: SessionStore) -> None:
    found = store.activity()
    total = found.total
    assert (total.turns, total.usage, total.cost_usd, total.unpriced) == (0, Usage(), None, 0)
    assert (found.buckets, found.counts, found.starts_avoided) == ([], [], 0)
    assert found.until == NOW


@pytest.mark.parametrize("span", [None, 7 * DAY, DAY, 40, 15])
def test_buckets_counts_and_models_add_up_to_what_cost_says(
    store: SessionStore, span: float | None
) -> None:
    keep(store, *mixed_turns(NOW))
    since = None if span is None else NOW - span
    found, costs = store.activity(since), store.costs("platform", since)
    total = found.total
    assert total.turns == sum(row.turns for row in costs) > 0
    assert total.usage == reduce(Usage.__add__, (row.usage for row in costs))
    assert total.cost_usd == sum(row.cost_usd or 0 for row in costs)
    assert total.unpriced == sum(row.unpriced for row in costs)
    assert sum(bucket.turns for bucket in found.buckets) == total.turns
    assert reduce(Usage.__add__, (bucket.usage for bucket in found.buckets)) == total.usage
    assert sum(b.cost_usd or 0 for b in found.buckets) == pytest.approx(total.cost_usd)
    assert sum(row.turns for row in found.counts) == total.turns
    assert sum(row.turns for row in found.models) == total.turns


def test_counts_tell_how_turns_began_and_which_starts_were_avoided(store: SessionStore) -> None:
    commit(store, NOW, NOW, plan="resume", reason="continued", process="live")
    commit(store, NOW, plan="import", reason="imported", process="spare")
    commit(store, NOW, process=None)
    keep(store, passing(NOW))
    store.commit(turn(started_at=NOW, plan=PASSED, reason="watched", process="live"))
    found = store.activity()
    assert counted(found) == {
        "resume/continued/live": 2,
        "import/imported/spare": 1,
        "fresh/first_turn/None": 1,
        "passthrough/watched/None": 1,
        "passthrough/watched/live": 1,
    }
    assert found.starts_avoided == 3
    assert Counted("resume", "continued", "live", "anthropic", 2) == found.counts[0]


@pytest.mark.parametrize(
    ("age", "seconds"), [(0, HOUR), (2 * DAY, HOUR), (2 * DAY + 1, DAY), (90 * DAY, DAY)]
)
def test_buckets_fit_the_span_that_has_turns_in_it(
    store: SessionStore, age: float, seconds: int
) -> None:
    commit(store, NOW - age, NOW)
    assert store.activity(NOW - 365 * DAY).seconds == seconds


def test_an_hour_begins_with_the_hour(store: SessionStore) -> None:
    hour = NOW // HOUR * HOUR
    commit(store, hour - 0.25, hour, hour + 3599.75)
    assert [(b.at, b.turns) for b in store.activity().buckets] == [(hour - HOUR, 1), (hour, 2)]


def test_a_day_begins_at_midnight_where_the_reader_is(
    in_kathmandu: None, store: SessionStore
) -> None:
    midnight = datetime.fromtimestamp(NOW).replace(hour=0, minute=0, second=0).timestamp()
    commit(store, midnight - 5 * DAY, midnight - 0.5, midnight, midnight + 60)
    buckets = store.activity().buckets
    assert [(b.at, b.turns) for b in buckets] == [
        (midnight - 5 * DAY, 1),
        (midnight - DAY, 1),
        (midnight, 2),
    ]


@pytest.mark.parametrize(
    ("times", "half", "most"),
    [
        ([7], 7, 7),
        ([1, 2], 1, 2),
        ([3, 1, 2], 2, 3),
        (range(1, 21), 10, 19),
        (range(1, 101), 50, 95),
        ([None], None, None),
        ([None, 5, None], 5, 5),
    ],
)
def test_percentiles_are_by_nearest_rank(
    store: SessionStore, times: list[int | None], half: int | None, most: int | None
) -> None:
    for ttft_ms in times:
        store.commit(turn(started_at=NOW, ttft_ms=ttft_ms))
    store.commit(turn(started_at=NOW, ttft_ms=99_999, plan=PASSED))
    (bucket,) = store.activity().buckets
    assert (bucket.first_token_p50, bucket.first_token_p95) == (half, most)


def test_figures_are_of_the_whole_ledger_and_time_bridged_turns_only(store: SessionStore) -> None:
    keep(store, *mixed_turns(NOW))
    found = store.figures()
    assert sum(row.turns for row in found.turns) == len(mixed_turns(NOW))
    assert {row.plan for row in found.turns} >= {"fresh", PASSED}
    assert sum(row.usage.input_tokens for row in found.used) == 1 + 700 + 40 + 90
    # Six were bridged; of one of them nobody knows when its answer began, one took 31 seconds.
    assert (found.first_token.count, found.duration.count) == (5, 6)
    assert found.first_token.seconds == pytest.approx(5 * 0.3)
    assert dict(found.first_token.buckets)[0.25] == 0
    assert dict(found.first_token.buckets)[0.5] == 5
    assert [n for _, n in found.duration.buckets] == [0, 0, 5, 5, 5, 5, 5, 5, 6, 6, 6, 6]


def test_clients_and_providers_leave_out_what_passed_through(store: SessionStore) -> None:
    keep(store, passing(NOW))
    commit(store, NOW, NOW, key=SessionKey("ann:goclaw", "u", "work"), client="ann", cost_usd=1.0)
    commit(store, NOW, cost_usd=0.5)
    found = store.activity()
    clients = [(row.group["client"], row.turns, row.cost_usd) for row in found.clients]
    assert clients == [("ann", 2, 2.0), ("", 1, 0.5)]
    assert [(row.group["provider"], row.turns) for row in found.providers] == [
        ("work", 2),
        ("claude", 1),
    ]


def spend(
    store: SessionStore,
    client: str,
    at: float,
    cost_usd: float,
    tokens: int = 0,
    provider: str = "claude",
) -> None:
    used = {"cost_usd": cost_usd, "tokens": tokens}
    row = {"client": client, "provider": provider, "started_at": at, **used}
    store.engine.write(lambda db: insert(db, "spending", row))


def test_budgets_are_told_with_what_is_used_of_their_window(store: SessionStore) -> None:
    day, week = Budget(per="day", usd=4), Budget(per="week", tokens=1000)
    known_client(store, "bob", ClientRules(budgets=(day, Budget(per="month", usd=0))))
    known_client(store, "ann", ClientRules(budgets=(week, day)))
    known_client(store, "eve", ClientRules(budgets=(day,)), revoked_at=NOW)
    known_client(store, "unlimited", ClientRules())
    begin, end = window("day", NOW)
    spend(store, "ann", begin - 1, cost_usd=9.0, tokens=200)  # yesterday, of the same week
    spend(store, "ann", begin, cost_usd=1.0, tokens=300)
    spend(store, "ann", NOW, cost_usd=2.0)
    spend(store, "", NOW, cost_usd=3.5, provider="work")
    budgets = store.budgets({"work": Allowance(budgets=(day,)), "ann": Allowance()})
    assert [(one.whose, one.name, one.budget, one.used, one.share) for one in budgets] == [
        ("client", "bob", Budget(per="month", usd=0), 0, 1.0),
        ("provider", "work", day, 3.5, 0.875),
        ("client", "ann", day, 3.0, 0.75),
        ("client", "ann", week, 500, 0.5),
        ("client", "bob", day, 0, 0),
    ]
    assert budgets[1].until == end


def test_a_turn_at_a_bound_is_within_it(store: SessionStore) -> None:
    commit(store, NOW, ttft_ms=500)
    commit(store, NOW, ttft_ms=501)
    within = dict(store.figures().first_token.buckets)
    assert (within[0.25], within[0.5], within[0.75]) == (0, 1, 2)


def test_an_empty_ledger_has_empty_histograms(store: SessionStore) -> None:
    found = store.figures()
    assert (found.duration.count, found.duration.seconds) == (0, 0.0)
    assert {count for _, count in found.first_token.buckets} == {0}


def test_places_are_those_of_each_turn_of_the_key(store: SessionStore) -> None:
    first = store.commit(turn(points=(("a", "entry-a"), ("b", "entry-b"))))
    second = store.commit(turn(points=(("c", "entry-c"),)))
    store.commit(turn_named("else"))
    assert store.places(KEY) == {
        first: [("a", "entry-a"), ("b", "entry-b")],
        second: [("c", "entry-c")],
    }
