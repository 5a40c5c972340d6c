"""Every row of the plan's table, decided from values alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.model import History, Point
from sessionbridge.sessions.planning.lineage import Link, chain
from sessionbridge.sessions.planning.plan import (
    plan_client_held,
    plan_server_held,
    plan_unknown,
    resolve_history,
)
from tests.support.scripted_dispatcher import said


def talk(*texts: str) -> tuple[Link, ...]:
    roles = ("user", "assistant")
    return chain([said(roles[n % 2], text) for n, text in enumerate(texts)])


def point(links: tuple[Link, ...], place: int, turn: int = 1, *, tip: bool = False) -> Point:
    """A point after the message at `place`."""
    return Point(links[place].hash, f"session-{turn}", f"entry-{place}", turn, tip)


A, B, C, D, E = links = talk("a", "b", "c", "d", "e")

# what is known, the plan's name and reason, the place of its base, how many messages it feeds
TABLE = {
    "nothing": ([], "import", "imported", None, 4),
    "the tip": ([point(links, 3, tip=True)], "resume", "continued", 3, 0),
    "an earlier point": ([point(links, 3)], "fork", "branched", 3, 0),
    "asked before": ([point(links, 3), point(links, 4)], "fork", "retried", 3, 0),
    "messages put in": ([point(links, 1, tip=True)], "import", "imported", 1, 2),
    "a point in mid-turn": ([point(links, 2)], "import", "imported", 2, 1),
    "the longest wins": (
        [point(links, 1, 9, tip=True), point(links, 3, 1)],
        "fork",
        "branched",
        3,
        0,
    ),
    "only the asked message": ([point(links, 4, tip=True)], "import", "imported", None, 4),
}


@pytest.mark.parametrize(
    ("known", "name", "reason", "base", "fed"), TABLE.values(), ids=TABLE.keys()
)
def test_client_held(
    known: list[Point], name: str, reason: str, base: int | None, fed: int
) -> None:
    plan = plan_client_held(links, known)
    assert (plan.name, plan.reason) == (name, reason)
    assert (plan.base.hash if plan.base else None) == (None if base is None else links[base].hash)
    assert plan.feed == tuple(link.message for link in links[4 - fed : 4])
    assert plan.ask == E.message


def test_a_lone_message_is_always_a_new_root() -> None:
    lone = talk("a")
    plan = plan_client_held(lone, [point(lone, 0), point(links, 1, tip=True)])
    assert (plan.name, plan.reason, plan.base, plan.feed) == ("fresh", "first_turn", None, ())


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_tip_is_preferred_then_the_newest(newest_first: bool) -> None:
    tips = [point(links, 3, 2, tip=True), point(links, 3, 3, tip=True)]
    known = [point(links, 3, 9), *tips]
    plan = plan_client_held(links, known if newest_first else known[::-1])
    assert plan.base == point(links, 3, 3, tip=True)
    assert plan.reason == "continued"
    forks = [point(links, 3, 2), point(links, 3, 5), point(links, 3, 4)]
    assert plan_client_held(links, forks).base == point(links, 3, 5)


@given(st.integers(1, 9), st.data())
def test_the_base_is_before_the_asked_message_and_all_after_it_is_given(
    length: int, data: st.DataObject
) -> None:
    length = length // 2 * 2 + 1
    talked = talk(*(f"m{n}" for n in range(length)))
    places = st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, 3), st.booleans()))
    known = [point(talked, place, turn, tip=tip) for place, turn, tip in data.draw(places)]
    plan = plan_client_held(talked, known)
    hashes = [link.hash for link in talked]
    start = hashes.index(plan.base.hash) + 1 if plan.base else 0
    assert start < length
    given = (*plan.feed, plan.ask)
    assert given == tuple(link.message for link in talked[start:])
    assert (plan.name == "resume") == (plan.base is not None and plan.base.is_tip and not plan.feed)


def test_server_held_goes_on_from_the_tip() -> None:
    tip = point(links, 3, tip=True)
    lone = talk("e")
    assert plan_server_held(lone, tip) == plan_server_held(links, tip)
    plan = plan_server_held(lone, tip)
    assert (plan.name, plan.reason, plan.base, plan.feed) == ("resume", "appended", tip, ())


def test_server_held_takes_all_after_the_last_answer_as_new() -> None:
    tip = point(links, 3, tip=True)
    new = chain([said("user", "a"), said("assistant", "b"), said("user", "c"), said("user", "d")])
    assert plan_server_held(new, tip).ask.blocks == (
        {"type": "text", "text": "c"},
        {"type": "text", "text": "d"},
    )


@pytest.mark.parametrize(
    ("texts", "given", "name", "reason"),
    [
        (("a",), None, "fresh", "first_turn"),
        (("a",), "memory_lost", "fresh", "memory_lost"),
        (("a", "b", "c"), None, "import", "imported"),
        (("a", "b", "c"), "started_over", "import", "started_over"),
    ],
)
def test_unknown(texts: tuple[str, ...], given: str | None, name: str, reason: str) -> None:
    plan = plan_unknown(talk(*texts), given)
    assert (plan.name, plan.reason, plan.base) == (name, reason, None)
    assert len(plan.feed) == len(texts) - 1
    if given is None:
        assert plan == plan_server_held(talk(*texts), None)


def test_a_repeated_turn_is_asked_where_it_was_asked_before() -> None:
    tip, before = point(links, 3, tip=True), point(links, 1)
    plan = plan_server_held(talk("e"), tip, repeats=True, before=before)
    assert (plan.name, plan.reason, plan.base) == ("fork", "retried", before)
    plan = plan_server_held(talk("e"), tip, repeats=True, before=None)
    assert (plan.name, plan.reason, plan.base) == ("fresh", "retried", None)


@pytest.mark.parametrize(
    ("declared", "texts", "learned", "history"),
    [
        ("client", ("a",), "server", "client"),
        ("server", ("a", "b", "c"), "client", "server"),
        ("learn", ("a",), None, "server"),
        ("learn", ("a",), "server", "server"),
        ("learn", ("a",), "client", "client"),
        ("learn", ("a", "b", "c"), None, "client"),
        ("learn", ("a", "b", "c"), "server", "client"),
    ],
)
def test_who_keeps_the_history(
    declared: History, texts: tuple[str, ...], learned: str | None, history: History
) -> None:
    assert resolve_history(declared, talk(*texts), learned) == history
