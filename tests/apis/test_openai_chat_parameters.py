"""How a Chat Completions request wants its answer: every parameter in a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.apis.openai_chat.request import ChatShape
from sessionbridge.errors import BadRequest
from sessionbridge.model import Parameters, Thinking, Tool, TurnRequest

SHAPE = ChatShape()
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
DOUBLE = {"name": "double", "description": "Doubles n.", "parameters": SCHEMA}
OFFERED = Tool("double", "Doubles n.", SCHEMA)
BARE = Tool("bare", "", {"type": "object", "properties": {}})
NAMED = {"type": "function", "function": {"name": "double"}}


def tool(function: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": function, **more}


def parse(**fields: Any) -> TurnRequest:
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return SHAPE.parse(json.dumps(request).encode())


def refusal(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    return caught.value


GIVEN: dict[str, tuple[dict[str, Any], Parameters]] = {
    "nothing": ({}, Parameters()),
    "nulls": (
        dict.fromkeys(
            ["tools", "tool_choice", "functions", "function_call", "reasoning_effort", "max_tokens"]
        ),
        Parameters(),
    ),
    "tools": (
        {"tools": [tool(DOUBLE), tool({"name": "bare"})], "tool_choice": "auto"},
        Parameters((OFFERED, BARE)),
    ),
    "a tool with a cache mark and what happens anyway": (
        {"tools": [tool(DOUBLE | {"strict": False}, cache_control={"type": "ephemeral"})]},
        Parameters((OFFERED,)),
    ),
    "no call wanted": ({"tools": [tool(DOUBLE)], "tool_choice": "none"}, Parameters()),
    "functions": (
        {"functions": [DOUBLE, {"name": "bare"}], "function_call": "auto"},
        Parameters((OFFERED, BARE)),
    ),
    "no function wanted": ({"functions": [DOUBLE], "function_call": "none"}, Parameters()),
    "no reasoning": ({"reasoning_effort": "none"}, Parameters()),
    "least reasoning": ({"reasoning_effort": "minimal"}, Parameters()),
    "reasoning": (
        {"reasoning_effort": "xhigh"},
        Parameters(thinking=Thinking(), effort="xhigh"),
    ),
    "text": ({"response_format": {"type": "text"}}, Parameters()),
    "an object": (
        {"response_format": {"type": "json_object"}},
        Parameters(schema={"type": "object"}),
    ),
    "a schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            }
        },
        Parameters(schema=SCHEMA),
    ),
    "a limit": ({"max_completion_tokens": 5}, Parameters(max_tokens=5)),
    "a limit, the older way": ({"max_tokens": 7}, Parameters(max_tokens=7)),
    "both": ({"max_completion_tokens": 5, "max_tokens": 7}, Parameters(max_tokens=5)),
}


@pytest.mark.parametrize("fields, expected", GIVEN.values(), ids=GIVEN)
def test_parameters_are_obeyed(fields: dict[str, Any], expected: Parameters) -> None:
    turn = parse(**fields)
    assert turn.parameters == expected
    assert turn.ignored == ()


IGNORED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "some tool": ({"tools": [tool(DOUBLE)], "tool_choice": "required"}, ["tool_choice"]),
    "this tool": ({"tools": [tool(DOUBLE)], "tool_choice": NAMED}, ["tool_choice"]),
    "one call": (
        {"tools": [tool(DOUBLE)], "parallel_tool_calls": False},
        ["parallel_tool_calls"],
    ),
    "of a tool": (
        {"tools": [tool(DOUBLE | {"strict": True}, defer_loading=True)]},
        ["tools.defer_loading", "tools.strict"],
    ),
    "this function": (
        {"functions": [DOUBLE], "function_call": {"name": "double"}},
        ["function_call"],
    ),
    "of a function": ({"functions": [DOUBLE | {"strict": True}]}, ["functions.strict"]),
    "of a schema": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "description": "d"},
            }
        },
        ["response_format.description"],
    ),
}


@pytest.mark.parametrize("fields, names", IGNORED.values(), ids=IGNORED)
def test_what_has_no_effect_is_told(fields: dict[str, Any], names: list[str]) -> None:
    assert parse(**fields).ignored == tuple(names)


EFFECTLESS = [
    "audio",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "modalities",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "seed",
    "service_tier",
    "temperature",
    "top_logprobs",
    "top_p",
    "verbosity",
    "web_search_options",
]


def test_parameters_the_bridge_does_not_obey_are_told() -> None:
    silent = {"n": 1, "user": "u", "metadata": {"a": "b"}, "store": True, "prompt_cache_key": "k"}
    silent |= {"safety_identifier": "s", "stream_options": {"include_usage": True}}
    assert parse(**silent, **dict.fromkeys(EFFECTLESS, "x")).ignored == tuple(EFFECTLESS)


def test_defaults_of_the_api_ask_for_nothing() -> None:
    defaults = {
        "logprobs": False,
        "modalities": ["text"],
        "parallel_tool_calls": True,
        "frequency_penalty": 0.0,
        "service_tier": "auto",
        "verbosity": "medium",
    }
    assert parse(**defaults).ignored == ()


@pytest.mark.parametrize(
    "stop, expected",
    [
        (None, ()),
        ([], ()),
        ("\n", ("\n",)),
        (["a", " "], ("a", " ")),
        (list("abcd"), tuple("abcd")),
    ],
)
def test_stop_sequences_are_told(stop: Any, expected: tuple[str, ...]) -> None:
    assert parse(stop=stop).stop == expected


def format_of(**schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "stop number": ({"stop": 5}, "stop"),
    "stop empty": ({"stop": ["x", ""]}, "stop.1"),
    "stop of numbers": ({"stop": [5]}, "stop.0"),
    "five stops": ({"stop": list("abcde")}, "stop"),
    "limit zero": ({"max_completion_tokens": 0}, "max_completion_tokens"),
    "limit text": ({"max_tokens": "5"}, "max_tokens"),
    "effort": ({"reasoning_effort": "extreme"}, "reasoning_effort"),
    "format text": ({"response_format": "json"}, "response_format"),
    "format type": ({"response_format": {"type": "grammar"}}, "response_format.type"),
    "no json_schema": ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    "no schema": (format_of(name="n"), "response_format.json_schema.schema"),
    "schema text": (format_of(name="n", schema="{}"), "response_format.json_schema.schema"),
    "tools an object": ({"tools": {}}, "tools"),
    "a tool is text": ({"tools": ["x"]}, "tools.0"),
    "tool without type": ({"tools": [{"function": DOUBLE}]}, "tools.0.type"),
    "custom tool without itself": ({"tools": [{"type": "custom"}]}, "tools.0.custom"),
    "a tool of no such kind": ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    "tool without function": ({"tools": [{"type": "function"}]}, "tools.0.function"),
    "tool without name": ({"tools": [tool({})]}, "tools.0.function.name"),
    "parameters text": (
        {"tools": [tool({"name": "a", "parameters": "{}"})]},
        "tools.0.function.parameters",
    ),
    "function without name": ({"functions": [{}]}, "functions.0.name"),
    "function twice": ({"functions": [DOUBLE, DOUBLE]}, "functions.1.name"),
    "tools and functions": ({"tools": [tool(DOUBLE)], "functions": [DOUBLE]}, "functions"),
    "choice word": ({"tool_choice": "some"}, "tool_choice"),
    "choice of custom": (
        {"tool_choice": {"type": "custom", "custom": {"name": "a"}}},
        "tool_choice.custom.name",
    ),
    "choice of several": (
        {"tool_choice": {"type": "allowed_tools"}},
        "tool_choice.allowed_tools",
    ),
    "choice without function": ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
    "function_call word": ({"function_call": "required"}, "function_call"),
    "function_call unnamed": ({"function_call": {}}, "function_call.name"),
    "function_call unknown": (
        {"functions": [DOUBLE], "function_call": {"name": "triple"}},
        "function_call.name",
    ),
}


@pytest.mark.parametrize("fields, param", REFUSED.values(), ids=REFUSED)
def test_parameters_that_make_no_sense_are_refused(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
