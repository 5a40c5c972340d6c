"""How much of a login's windows has been used: kept newest, and what the rate comes to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sessionbridge.plan_windows import HOUR, PlanWindow
from sessionbridge.sessions.store.store import SessionStore
from tests.support.stores import ENGINES, opened_store

RESETS = 1_000_000.0
WINDOW = PlanWindow("claude", "5h", "allowed", 0.6, RESETS, RESETS - 3 * HOUR)
"""As two of its five hours are over."""


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with opened_store(request, tmp_path) as opened:
        yield opened


def test_the_newest_of_each_window_and_provider_is_kept(store: SessionStore) -> None:
    assert store.plan_windows() == []
    week = replace(WINDOW, name="7d", status="unknown", used=None, resets_at=None)
    work = replace(WINDOW, provider="work")
    store.keep_plan_windows([work, week, WINDOW])
    later = replace(WINDOW, used=0.75, status="allowed_warning", told_at=WINDOW.told_at + 1)
    store.keep_plan_windows([later])
    assert store.plan_windows() == [later, week, work]
    # Turns that end at the same time may be kept the other way round.
    store.keep_plan_windows([WINDOW])
    assert store.plan_windows() == [later, week, work]


def test_what_a_clock_has_told_that_was_ahead_is_not_the_newest(store: SessionStore) -> None:
    store.keep_plan_windows([replace(WINDOW, told_at=WINDOW.told_at + 30 * 24 * HOUR)])
    store.keep_plan_windows([WINDOW])
    assert store.plan_windows() == [WINDOW]


def test_what_was_told_holds_for_a_twentieth_of_its_window() -> None:
    assert (WINDOW.holds, replace(WINDOW, name="7d").holds) == (15 * 60, 8.4 * HOUR)


def test_the_rate_is_that_since_the_window_began() -> None:
    assert WINDOW.used_per_hour == pytest.approx(0.3)
    assert WINDOW.full_at == pytest.approx(WINDOW.told_at + 0.4 / 0.3 * HOUR)
    slow = replace(WINDOW, used=0.2)
    assert slow.used_per_hour == pytest.approx(0.1)
    assert slow.full_at is None  # it resets before
    assert replace(WINDOW, used=1.2).full_at == WINDOW.told_at


@pytest.mark.parametrize(
    "changes",
    [
        {"used": None},
        {"resets_at": None},
        {"name": "a window that is not known"},
        {"told_at": RESETS - 5 * HOUR},  # as it begins
        {"told_at": RESETS - 9 * HOUR},  # before it does, by a clock that was set back
    ],
)
def test_without_what_it_takes_no_rate_is_known(changes: dict[str, object]) -> None:
    window = replace(WINDOW, **changes)  # type: ignore[arg-type]
    assert (window.used_per_hour, window.full_at) == (None, None)


def test_an_unused_window_is_never_full() -> None:
    unused = replace(WINDOW, used=0.0)
    assert (unused.used_per_hour, unused.full_at) == (0.0, None)


def test_what_was_told_holds_until_the_window_resets() -> None:
    assert WINDOW.is_open(RESETS - 1) and not WINDOW.is_open(RESETS)
    assert replace(WINDOW, resets_at=None).is_open(RESETS)
