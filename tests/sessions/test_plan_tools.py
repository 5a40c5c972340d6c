"""How a turn begins that brings the results of the client's tools."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.model import Point
from sessionbridge.sessions.planning.lineage import Link, chain
from sessionbridge.sessions.planning.plan import (
    plan_after,
    plan_client_held,
    plan_server_held,
    plan_unknown,
)
from tests.support.spoken import assistant, user
from tests.support.tool_rounds import found, use

TALK = (user("Look"), assistant("I do", use("a"), use("b")), user(found("a"), found("b")))
LINKS = chain(TALK)
RESULTS = LINKS[-1:]


def end(place: int = 1, *, tip: bool = True, waits: bool = True) -> Point:
    return Point(LINKS[place].hash, "session", f"entry-{place}", 7, tip, waits)


def test_results_go_to_the_turn_that_waits_for_them() -> None:
    for plan in (
        plan_client_held(LINKS, [], end()),
        plan_server_held(RESULTS, end()),
        plan_after(RESULTS, end()),
    ):
        assert (plan.name, plan.reason) == ("resume", "tool_results")
        assert (plan.base, plan.feed, plan.ask) == (end(), (), TALK[-1])


@pytest.mark.parametrize("open_turn", [None, end(tip=False)], ids=["none waits", "it was left"])
def test_results_that_no_turn_waits_for_are_brought_in(open_turn: Point | None) -> None:
    plan = plan_client_held(LINKS, [], open_turn)
    assert (plan.name, plan.reason, plan.base) == ("import", "tools_imported", None)
    assert (*plan.feed, plan.ask) == TALK


def test_they_are_brought_in_after_the_longest_point_that_is_known() -> None:
    before = (user("Hello"), assistant("Hi"))
    links = chain((*before, *TALK))
    known = Point(links[1].hash, "session", "entry", 3, is_tip=False)
    plan = plan_client_held(links, [known], None)
    assert (plan.name, plan.reason, plan.base) == ("import", "tools_imported", known)
    assert plan.feed == TALK[:2]
    assert plan.whole == (*before, *TALK[:2])


def test_a_conversation_of_another_kind_is_imported_as_such() -> None:
    talked = chain((*TALK, assistant("Found"), user("Thanks")))
    assert plan_client_held(talked, []).reason == "imported"
    assert plan_unknown(talked).reason == "imported"
    assert plan_unknown(LINKS).reason == "tools_imported"


def test_what_follows_a_response() -> None:
    lone = chain((user("And?"),))
    ended = end(waits=False)
    for point, name, reason in (
        (ended, "resume", "continued"),
        (replace(ended, is_tip=False), "fork", "branched"),
        (end(tip=False), "resume", "tool_results"),
    ):
        plan = plan_after(lone, point)
        assert (plan.name, plan.reason, plan.base, plan.feed) == (name, reason, point, ())
    more = chain((user("And?"), assistant("So"), user("Well?")))
    plan = plan_after(more, ended)
    assert (plan.name, plan.reason, plan.base) == ("import", "imported", ended)
    assert len(plan.feed) == 2


@given(st.integers(0, 3), st.booleans(), st.data())
def test_the_model_is_shown_all_of_it_whatever_is_known(
    rounds: int, waits: bool, data: st.DataObject
) -> None:
    """What the base stands for, what is fed and what is asked is the whole conversation."""
    talk = [user("Look")]
    for number in range(rounds):
        talk += [assistant(use(f"t{number}")), user(found(f"t{number}"))]
    links = chain(talk)
    places = st.lists(st.tuples(st.integers(0, len(links) - 1), st.booleans()), max_size=4)
    known = [_point(links, place, tip) for place, tip in data.draw(places)]
    open_turn = replace(_point(links, -2, True), is_open=True) if waits and rounds else None
    plan = plan_client_held(links, known, open_turn)
    start = [link.hash for link in links].index(plan.base.hash) + 1 if plan.base else 0
    assert [*plan.feed, plan.ask] == talk[start:]
    assert (plan.reason == "tool_results") == (open_turn is not None)
    assert plan.base is None or plan.base.is_open == (plan.reason == "tool_results")


def _point(links: tuple[Link, ...], place: int, tip: bool) -> Point:
    return Point(links[place].hash, "session", f"entry-{place}", 1, tip)
