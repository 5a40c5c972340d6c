"""Tools, calls and results keep the same rules in every API shape, told in that API's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.apis import SHAPES
from sessionbridge.errors import BadRequest
from sessionbridge.model import Block, TurnRequest

Said = tuple[str, ...]
"""Who speaks and the words, or `calls` or `results` and their ids."""

ASK = ("user", "Hi")
SCHEMA = {"type": "object", "properties": {}}


def as_messages(kind: str, words: Said) -> list[dict[str, Any]]:
    match kind:
        case "calls":
            calls = [{"type": "tool_use", "id": id_, "name": "f", "input": {}} for id_ in words]
            return [{"role": "assistant", "content": calls}]
        case "results":
            results = [{"type": "tool_result", "tool_use_id": id_} for id_ in words]
            return [{"role": "user", "content": results}]
    return [{"role": kind, "content": words[0]}]


def as_chat(kind: str, words: Said) -> list[dict[str, Any]]:
    match kind:
        case "calls":
            function = {"name": "f", "arguments": "{}"}
            calls = [{"id": id_, "type": "function", "function": function} for id_ in words]
            return [{"role": "assistant", "tool_calls": calls}]
        case "results":
            return [{"role": "tool", "tool_call_id": id_, "content": "1"} for id_ in words]
    return [{"role": kind, "content": words[0]}]


def messages_tool(name: str) -> dict[str, Any]:
    return {"name": name, "input_schema": SCHEMA}


def chat_tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


WRITE: dict[str, Callable[[str, Said], list[dict[str, Any]]]] = {
    "messages": as_messages,
    "chat": as_chat,
}
OFFER: dict[str, Callable[[str], dict[str, Any]]] = {
    "messages": messages_tool,
    "chat": chat_tool,
}
LONGEST = {"messages": 128, "chat": 64}
UNANSWERED = {
    "messages": "`tool_use` ids were found without `tool_result` blocks immediately after: {}. ",
    "chat": "The following tool_call_ids did not have response messages: {}",
}
UNCALLED = {
    "messages": "unexpected `tool_use_id` found in `tool_result` blocks: {}. ",
    "chat": "messages with role 'tool' must be a response to a preceding message",
}


def parse(name: str, *told: Said, **fields: Any) -> TurnRequest:
    messages = [message for kind, *words in told for message in WRITE[name](kind, tuple(words))]
    request = {"model": "m", "max_tokens": 9, "messages": messages or WRITE[name]("user", ("Hi",))}
    return SHAPES[name].parse(json.dumps(request | fields).encode())


def refusal(name: str, *told: Said, **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(name, *told, **fields)
    assert caught.value.__context__ is None
    return caught.value


def ids(turn: TurnRequest) -> list[str]:
    return [block_id(b) for m in turn.messages for b in m.blocks if b["type"] != "text"]


def block_id(block: Block) -> str:
    return str(block.get("id") or block["tool_use_id"])


@pytest.fixture(params=WRITE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


PAIRED: dict[str, tuple[Said, ...]] = {
    "one call": (ASK, ("calls", "a"), ("results", "a")),
    "two calls, answered in another order": (ASK, ("calls", "a", "b"), ("results", "b", "a")),
    "results in two messages": (ASK, ("calls", "a", "b"), ("results", "a"), ("results", "b")),
    "calls in two messages": (ASK, ("calls", "a"), ("calls", "b"), ("results", "a", "b")),
    "words after the results": (ASK, ("calls", "a"), ("results", "a"), ASK),
    "words before the call": (ASK, ("assistant", "So:"), ("calls", "a"), ("results", "a")),
    "blank words between": (ASK, ("calls", "a"), ("user", " "), ("results", "a")),
    "one after the other": (
        ASK,
        ("calls", "a"),
        ("results", "a"),
        ("calls", "b"),
        ("results", "b"),
        ("assistant", "Done."),
        ASK,
    ),
    "only results, the history is kept here": (("results", "a", "b"),),
    "results and words, the history is kept here": (("results", "a"), ASK),
}


@pytest.mark.parametrize("told", PAIRED.values(), ids=PAIRED)
def test_calls_and_their_results_pass_in_order(name: str, told: tuple[Said, ...]) -> None:
    expected = [id_ for kind, *words in told if kind in ("calls", "results") for id_ in words]
    assert ids(parse(name, *told)) == expected


CALLS_LEFT: dict[str, tuple[tuple[Said, ...], str]] = {
    "words instead": ((ASK, ("calls", "a"), ASK), "'a'"),
    "one of two": ((ASK, ("calls", "a", "b"), ("results", "a")), "'b'"),
    "one of two, then words": ((ASK, ("calls", "a", "b"), ("results", "a"), ASK), "'b'"),
    "an answer instead": (
        (ASK, ("calls", "a", "b"), ("results", "a"), ("assistant", "So."), ASK),
        "'b'",
    ),
    "words before the results": ((ASK, ("calls", "a"), ASK, ("results", "a")), "'a'"),
    "an id that is no name": ((ASK, ("calls", "4711-x"), ASK), "this value"),
}


@pytest.mark.parametrize("told, left", CALLS_LEFT.values(), ids=CALLS_LEFT)
def test_a_call_must_be_answered_at_once(name: str, told: tuple[Said, ...], left: str) -> None:
    error = refusal(name, *told)
    assert error.param == "messages.1"
    assert UNANSWERED[name].format(left) in error.message


RESULTS_LEFT: dict[str, tuple[tuple[Said, ...], str]] = {
    "no call": ((ASK, ("assistant", "Hello"), ("results", "a")), "messages.2"),
    "another id": ((ASK, ("calls", "a"), ("results", "b")), "messages.2"),
    "an answered call": (
        (ASK, ("calls", "a"), ("results", "a"), ("assistant", "So."), ("results", "a")),
        "messages.4",
    ),
}


@pytest.mark.parametrize("told, param", RESULTS_LEFT.values(), ids=RESULTS_LEFT)
def test_a_result_must_have_its_call(name: str, told: tuple[Said, ...], param: str) -> None:
    error = refusal(name, *told)
    assert error.param == param
    left = "'b'" if ("results", "b") in told else "'a'"
    assert UNCALLED[name].format(left) in error.message


OTHERWISE: dict[str, tuple[tuple[Said, ...], str, str]] = {
    "words first": ((ASK, ("results", "a")), "messages.1", "must come before all else"),
    "two results": (
        (ASK, ("calls", "a"), ("results", "a"), ("results", "a")),
        "messages.3",
        "must have one result, and 'a' has more",
    ),
    "no result": ((ASK, ("calls", "a")), "messages.1.role", "must be the user's"),
}


@pytest.mark.parametrize("told, param, rule", OTHERWISE.values(), ids=OTHERWISE)
def test_other_disorder_is_refused(
    name: str, told: tuple[Said, ...], param: str, rule: str
) -> None:
    error = refusal(name, *told)
    assert error.param == param
    assert rule in error.message


TOLD = st.sampled_from([ASK, ("assistant", "Hello")]) | st.tuples(
    st.sampled_from(["calls", "results"]), st.sampled_from("abc")
)


@given(told=st.lists(TOLD, max_size=8))
def test_what_passes_has_one_result_for_each_call(told: list[Said]) -> None:
    for name in WRITE:
        try:
            turn = parse(name, *told)
        except BadRequest:
            continue
        called: list[str] = []
        for message in turn.messages:
            used = [b for b in message.blocks if b["type"] == "tool_use"]
            answered = [b for b in message.blocks if b["type"] == "tool_result"]
            called += map(block_id, used)
            for result in answered:
                if called:
                    called.remove(block_id(result))
        assert called == []


def test_tools_are_offered_in_order_and_once(name: str) -> None:
    tools = [OFFER[name]("double"), OFFER[name]("triple")]
    assert [t.name for t in parse(name, tools=tools).parameters.tools] == ["double", "triple"]
    twice = refusal(name, tools=[*tools, OFFER[name]("double")])
    assert (twice.param or "").startswith("tools.2.")
    assert "'double' is not" in twice.message


@pytest.mark.parametrize("bad", ["", " ", "a b", "a.b", "ä", "a\n", "longest"])
def test_a_tools_name_is_a_name(name: str, bad: str) -> None:
    named = "x" * (LONGEST[name] + 1) if bad == "longest" else bad
    error = refusal(name, tools=[OFFER[name](named)])
    assert (error.param or "").endswith(".name")
    assert f"must be 1 to {LONGEST[name]} letters" in error.message
    assert parse(name, tools=[OFFER[name]("x" * LONGEST[name])]).parameters.tools


def test_a_tool_that_is_wanted_must_be_there(name: str) -> None:
    choices = {
        "messages": {"type": "tool", "name": "triple"},
        "chat": {"type": "function", "function": {"name": "triple"}},
    }
    error = refusal(name, tools=[OFFER[name]("double")], tool_choice=choices[name])
    assert (error.param or "").startswith("tool_choice.")
    assert "'triple' is not one of the tools" in error.message


def test_schemas_are_handed_on_as_they_are(name: str) -> None:
    schema = {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n", "x-own": [None, 1.5]}
    offered = OFFER[name]("a")
    (offered if name == "messages" else offered["function"]).update(
        {"input_schema" if name == "messages" else "parameters": schema}
    )
    (tool,) = parse(name, tools=[offered]).parameters.tools
    assert tool.schema == schema and tool.description == ""
