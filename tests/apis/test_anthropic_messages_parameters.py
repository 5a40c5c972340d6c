"""How a Messages request wants its answer: every parameter in a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.apis.anthropic_messages.request import MessagesShape
from sessionbridge.errors import BadRequest
from sessionbridge.model import Message, Parameters, Thinking, Tool, TurnRequest

SHAPE = MessagesShape()
HI = {"role": "user", "content": "Hi"}
TEXT = {"type": "text", "text": "Hello"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "aGlk"}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
TOOL = {"name": "double", "input_schema": SCHEMA}


def parse(*messages: dict[str, Any], **fields: Any) -> TurnRequest:
    request = {"model": "m", "max_tokens": 2000, "messages": [*(messages or [HI])], **fields}
    return SHAPE.parse(json.dumps(request).encode())


def refusal(*messages: dict[str, Any], **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(*messages, **fields)
    return caught.value


GIVEN: dict[str, tuple[dict[str, Any], Parameters]] = {
    "nothing": ({}, Parameters(max_tokens=2000)),
    "nulls": (
        dict.fromkeys(["tools", "tool_choice", "thinking", "output_config", "output_format"]),
        Parameters(max_tokens=2000),
    ),
    "thinking off": ({"thinking": {"type": "disabled"}}, Parameters(max_tokens=2000)),
    "thinking": (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        Parameters(max_tokens=2000, thinking=Thinking(1024)),
    ),
    "thinking adaptive, not shown": (
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        Parameters(max_tokens=2000, thinking=Thinking(None, "omitted")),
    ),
    "effort": ({"output_config": {"effort": "max"}}, Parameters(max_tokens=2000, effort="max")),
    "format": (
        {"output_config": {"format": FORMAT}},
        Parameters(max_tokens=2000, schema=SCHEMA),
    ),
    "format, the older way": (
        {"output_format": FORMAT},
        Parameters(max_tokens=2000, schema=SCHEMA),
    ),
    "tools": (
        {"tools": [TOOL, TOOL | {"name": "b", "description": "B.", "type": "custom"}]},
        Parameters((Tool("double", "", SCHEMA), Tool("b", "B.", SCHEMA)), max_tokens=2000),
    ),
    "tool with a cache mark and what happens anyway": (
        {
            "tools": [
                TOOL
                | {"cache_control": {"type": "ephemeral"}, "strict": False, "defer_loading": False}
            ],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": False},
        },
        Parameters((Tool("double", "", SCHEMA),), max_tokens=2000),
    ),
    "no call wanted": (
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        Parameters(max_tokens=2000),
    ),
}


@pytest.mark.parametrize("fields, expected", GIVEN.values(), ids=GIVEN)
def test_parameters_are_obeyed(fields: dict[str, Any], expected: Parameters) -> None:
    turn = parse(**fields)
    assert turn.parameters == expected
    assert turn.ignored == ()


IGNORED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "any tool": ({"tool_choice": {"type": "any"}}, ["tool_choice"]),
    "this tool": ({"tool_choice": {"type": "tool", "name": "double"}}, ["tool_choice"]),
    "one call": (
        {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ["tool_choice.disable_parallel_tool_use"],
    ),
    "of a tool": (
        {"tools": [TOOL | {"strict": True, "eager_input_streaming": True, "input_examples": [{}]}]},
        ["tools.eager_input_streaming", "tools.input_examples", "tools.strict"],
    ),
    "of thinking and output": (
        {"thinking": {"type": "adaptive", "mood": 1}, "output_config": {"task_budget": {"a": 1}}},
        ["output_config.task_budget", "thinking.mood"],
    ),
}


@pytest.mark.parametrize("fields, names", IGNORED.values(), ids=IGNORED)
def test_what_has_no_effect_is_told(fields: dict[str, Any], names: list[str]) -> None:
    turn = parse(**{"tools": [TOOL], **fields})
    assert turn.ignored == tuple(names)
    assert [tool.name for tool in turn.parameters.tools] == ["double"]


def test_parameters_the_bridge_does_not_obey_are_told() -> None:
    names = ["temperature", "top_p", "top_k", "service_tier", "container", "context_management"]
    names += ["mcp_servers"]
    turn = parse(metadata={"user_id": "u"}, cache_control={"x": 1}, **dict.fromkeys(names, "x"))
    assert turn.ignored == tuple(sorted(names))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "max_tokens null": ({"max_tokens": None}, "max_tokens"),
    "max_tokens negative": ({"max_tokens": -1}, "max_tokens"),
    "max_tokens zero, streamed": ({"max_tokens": 0, "stream": True}, "stream"),
    "max_tokens zero, a call": ({"max_tokens": 0, "tool_choice": {"type": "any"}}, "tool_choice"),
    "max_tokens text": ({"max_tokens": "9"}, "max_tokens"),
    "max_tokens fraction": ({"max_tokens": 9.5}, "max_tokens"),
    "max_tokens bool": ({"max_tokens": True}, "max_tokens"),
    "thinking text": ({"thinking": "on"}, "thinking"),
    "thinking type": ({"thinking": {"type": "wild"}}, "thinking.type"),
    "no budget": ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
    "small budget": (
        {"thinking": {"type": "enabled", "budget_tokens": 1023}},
        "thinking.budget_tokens",
    ),
    "budget beyond max_tokens": (
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        "thinking.budget_tokens",
    ),
    "adaptive with budget": (
        {"thinking": {"type": "adaptive", "budget_tokens": 1024}},
        "thinking.budget_tokens",
    ),
    "display": ({"thinking": {"type": "adaptive", "display": "all"}}, "thinking.display"),
    "effort": ({"output_config": {"effort": "extreme"}}, "output_config.effort"),
    "format type": ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    "no schema": (
        {"output_config": {"format": {"type": "json_schema"}}},
        "output_config.format.schema",
    ),
    "older format": (
        {"output_format": {"type": "json_schema", "schema": 1}},
        "output_format.schema",
    ),
    "stop text": ({"stop_sequences": "x"}, "stop_sequences"),
    "stop blank": ({"stop_sequences": ["x", " \n"]}, "stop_sequences.1"),
    "tools an object": ({"tools": {}}, "tools"),
    "a tool is text": ({"tools": ["x"]}, "tools.0"),
    "tool without name": ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
    "tool without schema": ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
    "schema of no object": (
        {"tools": [{"name": "a", "input_schema": {"type": "string"}}]},
        "tools.0.input_schema.type",
    ),
    "choice text": ({"tool_choice": "auto"}, "tool_choice"),
    "choice type": ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    "choice without name": ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
}


@pytest.mark.parametrize("fields, param", REFUSED.values(), ids=REFUSED)
def test_parameters_that_make_no_sense_are_refused(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")


def test_max_tokens_is_required() -> None:
    with pytest.raises(BadRequest, match="^max_tokens: is required$"):
        SHAPE.parse(b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}')


SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_a_tool_of_anthropics_is_not_offered_and_told() -> None:
    turn = parse(tools=[SEARCH, TOOL, {"type": "my own\n"}])
    assert [tool.name for tool in turn.parameters.tools] == [TOOL["name"]]
    assert turn.ignored == ("tools.(other)", "tools.web_search_20250305")


def test_it_may_be_the_one_that_is_to_be_called() -> None:
    chosen = {"type": "tool", "name": "web_search"}
    assert "tool_choice" in parse(tools=[SEARCH, TOOL], tool_choice=chosen).ignored


def test_a_budget_may_be_for_all_thinking_between_calls() -> None:
    """OpenHands asks for 200,000 with a limit of 64,000."""
    thinking = {"type": "enabled", "budget_tokens": 200_000}
    turn = parse(max_tokens=64_000, thinking=thinking, tools=[TOOL])
    assert turn.parameters.thinking == Thinking(200_000)
    assert refusal(max_tokens=64_000, thinking=thinking).param == "thinking.budget_tokens"


def test_stop_sequences_are_told() -> None:
    assert parse(stop_sequences=["\n\nHuman:", "END"]).stop == ("\n\nHuman:", "END")
    assert parse(stop_sequences=None).stop == parse(stop_sequences=[]).stop == ()


ON = {"type": "adaptive"}
CUT = {"type": "thinking", "thinking": "Hm", "signature": ""}
HISTORIES: dict[str, tuple[list[Any], dict[str, Any], list[Any]]] = {
    "kept where thinking is on": ([THOUGHT, HIDDEN, TEXT], ON, [THOUGHT, HIDDEN, TEXT]),
    "left out where it is off": ([THOUGHT, HIDDEN, TEXT], {"type": "disabled"}, [TEXT]),
    "left out where it was cut": ([CUT, TEXT], ON, [TEXT]),
    "nothing where it is all": ([THOUGHT, {"type": "text", "text": " "}], ON, []),
}


@pytest.mark.parametrize("sent, thinking, kept", HISTORIES.values(), ids=HISTORIES)
def test_thoughts_of_the_history(
    sent: list[Any], thinking: dict[str, Any], kept: list[Any]
) -> None:
    turn = parse(HI, {"role": "assistant", "content": sent}, HI, thinking=thinking)
    answers = [Message("assistant", tuple(kept))] if kept else []
    assert list(turn.messages[1:-1]) == answers


@pytest.mark.parametrize(
    "thought, field",
    [
        ({"type": "thinking", "signature": "s"}, "thinking"),
        ({"type": "thinking", "thinking": "x", "signature": 5}, "signature"),
        ({"type": "redacted_thinking"}, "data"),
    ],
)
def test_thoughts_have_the_form_of_the_api(thought: dict[str, Any], field: str) -> None:
    said = {"role": "assistant", "content": [TEXT, thought]}
    assert refusal(HI, said, HI, thinking=ON).param == f"messages.1.content.1.{field}"


def test_a_user_has_no_thoughts() -> None:
    said = {"role": "user", "content": [THOUGHT]}
    assert refusal(said, thinking=ON).param == "messages.0.content.0.type"
