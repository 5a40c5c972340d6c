"""What a flow says about itself: all a person needs, nothing anybody said."""

from __future__ import annotations

import warnings

import pytest
from mitmproxy import flowfilter
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from sessionbridge.model import Dispatched, Finished, Origin, Plan, Started, TextDelta, Usage
from sessionbridge.proxy import flow_notes
from sessionbridge.turns.exchange import Exchange
from tests.support.scripted_dispatcher import said

ORIGIN = Origin("openclaw", "chat-1", "conversation", "client")


def answered() -> Exchange:
    exchange = Exchange("messages", ORIGIN)
    outcome = exchange.outcome
    ask = said("user", "a question nobody else reads")
    outcome.plan = Plan("resume", "continued", None, (), ask)
    told = ("system", "max_tokens")
    outcome.hear(Dispatched(outcome.plan, "session-1", "claude --print", "live", told, 6))
    outcome.hear(Started("msg_1", "claude-x", Usage()))
    outcome.hear(TextDelta(0, "an answer "))
    outcome.hear(TextDelta(0, "nobody else reads"))
    outcome.hear(Finished("session-2", ("e",), "end_turn", Usage(10, 42, 5, 100), 0.00091))
    outcome.duration_ms = 949
    outcome.ignored = ("temperature",)
    outcome.turn = 7
    return exchange


def test_comment() -> None:
    assert flow_notes.comment(answered()) == (
        "resume continued · openclaw · claude-x · in 10 out 42 cache 100+5 · $0.0009 · 0.9 s"
    )


def test_comment_of_a_refusal() -> None:
    exchange = Exchange("chat", None)
    exchange.outcome.error = "400 BadRequest"
    assert flow_notes.comment(exchange) == "refused · no origin · error 400 BadRequest"


def test_metadata_survives_being_saved() -> None:
    flow = tflow.tflow()
    flow_notes.annotate(flow, answered())
    read = HTTPFlow.from_state(flow.get_state())
    assert read.metadata == flow.metadata
    assert read.marked == ":link:" and read.comment == flow.comment
    assert read.metadata["sessionbridge"] | {"ttft_ms": 0} == {
        "api": "messages",
        "platform": "openclaw",
        "external_id": "chat-1",
        "plan": "resume",
        "reason": "continued",
        "usage": {
            "input_tokens": 10,
            "output_tokens": 42,
            "cache_creation_input_tokens": 5,
            "cache_read_input_tokens": 100,
        },
        "ignored": ["temperature"],
        "session": "session-2",
        "command": "claude --print",
        "model": "claude-x",
        "cost_usd": 0.00091,
        "ttft_ms": 0,
        "duration_ms": 949,
        "base": None,
        "fed": 0,
        "process": "live",
        "told": ["system", "max_tokens"],
        "told_ms": 6,
        "turn": 7,
        "provider": None,
        "node": None,
        "error": None,
    }


def test_nothing_anybody_said() -> None:
    exchange = answered()
    assert exchange.outcome.text == "an answer nobody else reads"
    told = flow_notes.comment(exchange) + repr(flow_notes.metadata(exchange))
    assert "nobody else reads" not in told


@pytest.mark.parametrize(
    "expression",
    ["~marked", '~comment "openclaw"', '~comment "resume continued"', '~meta "session-2"'],
)
def test_filters_find_it(expression: str) -> None:
    flow = tflow.tflow()
    flow_notes.annotate(flow, answered())
    with warnings.catch_warnings():
        # mitmproxy 12.2 calls pyparsing by names that pyparsing 3.3 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        wanted = flowfilter.parse(expression)
    assert wanted(flow) and not wanted(tflow.tflow())
