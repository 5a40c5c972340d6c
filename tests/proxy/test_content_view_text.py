"""A conversation as plain text: calls with their results, clipped lines, and whole texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.model import Block, Message
from sessionbridge.proxy import flow_notes
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.traffic.reading import api_of, read
from sessionbridge.traffic.text import conversation, joined
from tests.support.content_view_fixtures import (
    flow_of,
    messages_body,
    registered,
    request_text,
    sections,
)
from tests.support.spoken import assistant, image, text, user
from tests.support.tool_rounds import found, use
from tests.support.traffic_fixtures import RECORDED

__all__ = ["registered"]


CALLS = assistant("I look", use("t1", at="ü"), use("t2", "other"))
RESULTS = user(found("t2", "second"), found("t1", [text("first"), image("A" * 16_000)]), "and?")


LOOKED = """-> call look (t1)
    {
      "at": "ü"
    }
<- result
    first
    [image/png, 12 kB]"""
OTHER = "-> call other (t2)\n    {}\n<- result\n    second"


def test_calls_stand_together_with_their_results() -> None:
    page = request_text(flow_of("messages", messages_body([user("Hi"), CALLS, RESULTS])))
    assert sections(page) == {
        "user": "Hi\n\nand?",
        "assistant": f"I look\n\n{LOOKED}\n\n{OTHER}",
    }


def test_results_bring_along_calls_that_were_said_before() -> None:
    flow = flow_of("messages", messages_body([user("Hi"), CALLS, RESULTS]))
    notes = {"plan": "resume", "reason": "tool_results", "fed": 0, "base": "entry"}
    flow.metadata[flow_notes.METADATA] = {"api": "messages", **notes}
    shown = sections(request_text(flow))
    assert shown["user"] == f"{OTHER}\n\n{LOOKED}\n\nand?"
    folded = shown["2 earlier messages that the session already holds"]
    assert folded.endswith("2  assistant  I look -> look -> other")


def test_an_id_that_is_used_again_is_paired_anew() -> None:
    talk = []
    for number in "12":
        talk += [assistant(use("call_0", n=number)), user(found("call_0", f"answer {number}"))]
    talk.append(user(found("call_0", "of nothing")))
    page = request_text(flow_of("messages", messages_body(talk)))
    order = [page.index(said) for said in ('"n": "1"', "answer 1", '"n": "2"', "answer 2")]
    assert order == sorted(order)
    assert sections(page)["user"] == "<- result\n    of nothing"


def test_long_messages_are_clipped_in_the_list_of_earlier_ones_alone() -> None:
    talk = [user("long  words " * 50), assistant("yes"), user("new words " * 50)]
    flow = flow_of("messages", messages_body(talk))
    notes = {"api": "messages", "plan": "resume", "fed": 0, "base": None}
    flow.metadata[flow_notes.METADATA] = notes
    shown = sections(request_text(flow))
    assert shown["user"] == ("new words " * 50).strip()
    line, _ = shown["2 earlier messages that were not sent"].splitlines()
    assert line == "1  user       " + ("long words " * 8)[:77] + "..."


def nested(levels: int) -> Block:
    given: list[Any] = []
    for _ in range(levels):
        given = [given]
    return {"type": "tool_use", "id": "t1", "name": "dig", "input": {"a": given}}


@pytest.mark.parametrize(
    "levels, shown",
    [
        (1, '    {\n      "a": [\n        []\n      ]\n    }'),
        (500, f'    {{"a": {"[" * 501}{"]" * 501}}}'),
        (100_000, "    (nested too deeply to be shown)"),
    ],
)
def test_inputs_of_any_depth_are_shown(levels: int, shown: str) -> None:
    _, call = conversation([Message("assistant", (nested(levels),))])
    assert call == f"-> call dig (t1)\n{shown}"


@pytest.mark.parametrize("sent", RECORDED)
def test_messages_are_joined_as_the_plan_counts_them(sent: dict[str, Any]) -> None:
    reading = read(api_of(sent["path"]) or "", json.dumps(sent["body"]).encode(), None, "")
    assert joined(reading.messages) == tuple(link.message for link in chain(reading.messages))


def test_thoughts_alone_say_nothing_to_the_model() -> None:
    thought = Message("assistant", ({"type": "thinking", "thinking": "hm"},))
    assert joined([user("a"), thought, user(" "), user("b")]) == (user("a", "b"),)
