"""Ids of calls, and names of tools, as programs write them: each is one of its own inside."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.apis.common.tools import allowed
from tests.apis.test_api_tools import ASK, Said, ids, name, parse

__all__ = ["name"]

INSIDE: dict[str, tuple[tuple[Said, ...], list[str]]] = {
    "other characters": (
        (ASK, ("calls", "functions.look:0"), ("results", "functions.look:0")),
        ["functions_look_0", "functions_look_0"],
    ),
    "equal once they are spelled": (
        (ASK, ("calls", "f:0", "f.0"), ("results", "f.0", "f:0")),
        ["f_0", "f_0-2", "f_0-2", "f_0"],
    ),
    "counted anew in each answer": (
        (ASK, ("calls", "0"), ("results", "0"), ("calls", "0"), ("results", "0")),
        ["0", "0", "0-2", "0-2"],
    ),
    "two calls of one id": ((ASK, ("calls", "a", "a"), ("results", "a", "a")), ["a", "a-2"] * 2),
    "no ids": ((ASK, ("calls", "", ""), ("results", "", "")), ["call", "call-2"] * 2),
    "an id that another was given": (
        (ASK, ("calls", "a", "a-2"), ("results", "a", "a-2"), ("calls", "a"), ("results", "a")),
        ["a", "a-2", "a", "a-2", "a-3", "a-3"],
    ),
    "another's and a number, which are one to the CLI": (
        (ASK, ("calls", "a", "a_2"), ("results", "a", "a_2")),
        ["a", "a_2-2"] * 2,
    ),
    "and the other way round": (
        (ASK, ("calls", "fc_1_1"), ("results", "fc_1_1"), ("calls", "fc_1"), ("results", "fc_1")),
        ["fc_1_1", "fc_1_1", "fc_1-2", "fc_1-2"],
    ),
    "numbered alike, which are two": (
        (ASK, ("calls", "call_0", "call_1"), ("results", "call_0", "call_1")),
        ["call_0", "call_1"] * 2,
    ),
    "none beside those with numbers": (
        (ASK, ("calls", "call_0", ""), ("results", "call_0", "")),
        ["call_0", "call-2"] * 2,
    ),
    "results alone, of a history kept here": ((("results", "x:1"),), ["x_1"]),
}


@pytest.mark.parametrize("told, inside", INSIDE.values(), ids=INSIDE)
def test_each_call_has_an_id_of_its_own_and_its_result_that_one(
    name: str, told: tuple[Said, ...], inside: list[str]
) -> None:
    assert ids(parse(name, *told)) == inside


ROUNDS = st.lists(
    st.lists(st.sampled_from(["", "a", "a.", "a_", "a_2"]), min_size=1, max_size=4), max_size=5
)


@given(ROUNDS)
def test_whatever_the_ids_they_are_unique_and_the_same_in_every_turn(
    rounds: list[list[str]],
) -> None:
    """A longer conversation gives its beginning the ids it had: a session is known by them."""
    told: list[Said] = [ASK]
    before: list[str] = []
    calls: list[str] = []
    for given_ids in rounds:
        told += [("calls", *given_ids), ("results", *given_ids)]
        inside = ids(parse("chat", *told))
        assert inside[: len(before)] == before
        new = inside[len(before) :]
        calls += new[: len(given_ids)]
        assert new[len(given_ids) :] == calls[-len(given_ids) :]
        assert len(set(calls)) == len(calls)
        assert all(re.fullmatch("[A-Za-z0-9_-]+", id_) for id_ in inside)
        before = inside


def test_names_are_spelled_as_the_messages_api_allows() -> None:
    assert allowed("functions.search:0") == "functions_search_0"
    assert allowed("ä b") == "__b"
