"""Tools of the Responses API: what the model is offered, and whose call a name is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.apis.openai_responses.request import ResponsesShape
from sessionbridge.errors import BadRequest
from sessionbridge.model import Tool, TurnRequest

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
EMPTY = {"type": "object", "properties": {}}
TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
DOUBLE = {"type": "function", "name": "double", "description": "Doubles n.", "parameters": SCHEMA}
PATCH: dict[str, Any] = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
LARK = {"type": "grammar", "syntax": "lark", "definition": "start: begin\nbegin: 'x'"}


def space(name: str, *tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "namespace", "name": name, "description": "d", "tools": list(tools)}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "name": name} for name in names]
    return {"type": "allowed_tools", "mode": mode, "tools": tools}


def parse(*tools: Any, **fields: Any) -> TurnRequest:
    request = {"model": "m", "input": "Hi", "tools": tools, **fields}
    return ResponsesShape().parse(json.dumps(request).encode())


OFFERED: dict[str, tuple[dict[str, Any], list[Tool]]] = {
    "function": (DOUBLE, [Tool("double", "Doubles n.", SCHEMA)]),
    "function of nothing": (
        {"type": "function", "name": "now", "description": None, "parameters": None},
        [Tool("now", "", EMPTY)],
    ),
    "custom": (PATCH, [Tool("apply_patch", "Edits files.", TEXT, takes_text=True)]),
    "custom text": (
        {**PATCH, "format": {"type": "text"}},
        [Tool("apply_patch", "Edits files.", TEXT, takes_text=True)],
    ),
    "custom of a grammar": (
        {**PATCH, "format": LARK},
        [
            Tool(
                "apply_patch",
                "Edits files.\n\nThe input must follow this lark grammar:\n"
                "start: begin\nbegin: 'x'",
                TEXT,
                takes_text=True,
            )
        ],
    ),
    "grammar without a description": (
        {"type": "custom", "name": "p", "format": {**LARK, "syntax": "regex", "definition": "a+"}},
        [Tool("p", "The input must follow this regex grammar:\na+", TEXT, takes_text=True)],
    ),
    "namespace": (
        space("math", DOUBLE, PATCH),
        [
            Tool("math__double", "d\n\nDoubles n.", SCHEMA, "double", "math"),
            Tool("math__apply_patch", "Edits files.", TEXT, "apply_patch", "math", True),
        ],
    ),
    "empty namespace": (space("math"), []),
}


@pytest.mark.parametrize("given, tools", OFFERED.values(), ids=OFFERED)
def test_the_model_is_offered_what_the_client_can_run(
    given: dict[str, Any], tools: list[Tool]
) -> None:
    turn = parse(given)
    assert turn.parameters.tools == tuple(tools)
    assert turn.ignored == ()


@pytest.mark.parametrize(
    "kind",
    [
        "apply_patch",
        "code_interpreter",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "shell",
        "tool_search",
        "web_search",
        "web_search_preview_2025_03_11",
    ],
)
def test_tools_that_the_cli_cannot_run_are_told(kind: str) -> None:
    turn = parse({"type": kind, "server_label": "x"}, DOUBLE)
    assert turn.ignored == (f"tools.{kind}",)
    assert [tool.name for tool in turn.parameters.tools] == ["double"]


def test_a_namespace_within_a_namespace_is_told() -> None:
    assert parse(space("a", space("b", DOUBLE))).ignored == ("tools.namespace",)


def test_what_a_tool_asks_for_in_vain_is_told() -> None:
    silent = {"defer_loading": True, "allowed_callers": ["direct"], "output_schema": SCHEMA}
    assert parse({**DOUBLE, **silent, "strict": False}).ignored == ()
    assert parse({**DOUBLE, "strict": None}).ignored == ()
    assert parse({**DOUBLE, "strict": True}, {**PATCH, "mood": "x"}).ignored == (
        "tools.mood",
        "tools.strict",
    )
    assert parse({"type": "my own\r\n"}).ignored == ("tools.(other)",)


@pytest.mark.parametrize(
    "choice, offered, ignored",
    [
        (None, 1, ()),
        ("auto", 1, ()),
        ("none", 0, ()),
        ("required", 1, ("tool_choice",)),
        ({"type": "function", "name": "double"}, 1, ("tool_choice",)),
        ({"type": "custom", "name": "double"}, 1, ("tool_choice",)),
        ({"type": "web_search_preview"}, 1, ("tool_choice",)),
        (allowed("auto", "double"), 1, ()),
        (allowed("required", "double"), 1, ("tool_choice",)),
        (allowed("auto", "triple"), 0, ()),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "namespace"}]}, 0, ()),
        (allowed("auto"), 0, ()),
    ],
)
def test_the_model_cannot_be_forced_to_call_but_kept_from_it(
    choice: Any, offered: int, ignored: tuple[str, ...]
) -> None:
    turn = parse(DOUBLE, tool_choice=choice)
    assert len(turn.parameters.tools) == offered
    assert turn.ignored == ignored


@pytest.mark.parametrize(
    "choice, param",
    [
        ("double", "tool_choice"),
        (5, "tool_choice"),
        ({"name": "double"}, "tool_choice"),
        ({"type": "function", "name": "triple"}, "tool_choice.name"),
    ],
)
def test_a_choice_that_is_none_is_refused(choice: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(DOUBLE, tool_choice=choice)
    assert caught.value.param == param


REFUSED: dict[str, tuple[list[Any], str]] = {
    "text": (["double"], "tools.0"),
    "no type": ([{"name": "double"}], "tools.0.type"),
    "no name": ([{"type": "function"}], "tools.0.name"),
    "name within a function": (
        [{"type": "function", "function": {"name": "double"}}],
        "tools.0.name",
    ),
    "odd name": ([{**DOUBLE, "name": "my tool"}], "tools.0.name"),
    "long name": ([{**DOUBLE, "name": "x" * 129}], "tools.0.name"),
    "odd in a namespace": ([space("a", {**DOUBLE, "name": "x.y"})], "tools.0.tools.0.name"),
    "two of a name": ([{"type": "mcp"}, DOUBLE, {**PATCH, "name": "double"}], "tools.2.name"),
    "two of a name in a namespace": ([space("a", DOUBLE, DOUBLE)], "tools.0.tools.1.name"),
    "a schema of no object": (
        [{**DOUBLE, "parameters": {"type": "string"}}],
        "tools.0.parameters.type",
    ),
    "schema a list": ([{**DOUBLE, "parameters": []}], "tools.0.parameters"),
    "namespace of nothing": ([{"type": "namespace", "name": "a"}], "tools.0.tools"),
}


@pytest.mark.parametrize("tools, param", REFUSED.values(), ids=REFUSED)
def test_tools_that_cannot_be_offered_are_refused(tools: list[Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(*tools)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


@pytest.mark.parametrize("format_", [LARK | {"definition": None}, {"type": "xml"}, "text"])
def test_a_format_that_is_none_is_refused(format_: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        parse({**PATCH, "format": format_})
    assert str(caught.value.param).startswith("tools.0.format")


def test_a_namespace_is_allowed_as_a_whole_and_a_function_by_its_own() -> None:
    tools = [DOUBLE, space("math", DOUBLE, {**DOUBLE, "name": "half"})]

    def offered(**one: Any) -> list[str]:
        choice = {"type": "allowed_tools", "mode": "auto", "tools": [one]}
        return [tool.name for tool in parse(*tools, tool_choice=choice).parameters.tools]

    assert offered(type="namespace", name="math") == ["math__double", "math__half"]
    assert offered(type="function", name="double") == ["double"]
    assert offered(type="function", name="half", namespace="math") == ["math__half"]


def named(*tools: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    """By which name the model knows each, and which place the client has it in."""
    return [(tool.name, tool.namespace, tool.called) for tool in parse(*tools).parameters.tools]


def test_tools_of_namespaces_that_sound_alike_are_kept_apart() -> None:
    both = [{**DOUBLE, "name": "a__b"}, space("a", {**DOUBLE, "name": "b"})]
    assert named(*both) == [("a__b", None, None), ("a__b_2", "a", "b")]
    spaces = [space("a", {**DOUBLE, "name": "b__c"}), space("a__b", {**DOUBLE, "name": "c"})]
    assert named(*spaces) == [("a__b__c", "a", "b__c"), ("a__b__c_2", "a__b", "c")]
    after = [space("a", {**DOUBLE, "name": "b"}), {**DOUBLE, "name": "a__b"}]
    assert named(*after) == [("a__b", "a", "b"), ("a__b_2", None, "a__b")]


def test_a_name_that_is_too_long_with_its_namespace_is_cut() -> None:
    first, second = ({**DOUBLE, "name": f"{'x' * 40}_{end}"} for end in "ab")
    cut = f"{'n' * 100}__{'x' * 26}"
    assert [name for name, *_ in named(space("n" * 100, first, second))] == [
        cut,
        cut[:-2] + "_2",
    ]


def test_a_namespace_in_other_characters_is_spelled_as_the_model_may_call_it() -> None:
    assert named(space("mcp.my server", DOUBLE)) == [
        ("mcp_my_server__double", "mcp.my server", "double")
    ]
