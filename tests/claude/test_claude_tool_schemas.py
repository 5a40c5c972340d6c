"""The real CLI offers every tool it is given, whatever its schema leaves out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.errors import BadRequest
from sessionbridge.model import Parameters, Tool, ToolCall
from tests.support.claude_cli import USAGE, Stage, isolated, job, staged
from tests.support.tool_rounds import calling, use

A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}
PLAIN = Tool("plain", "Plain.", A)

SCHEMAS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no type": {"properties": {"a": {"type": "string"}}},
    "a list of types": {"type": ["object", "null"], "properties": {"a": {}}},
    "properties that are a list": {"type": "object", "properties": []},
    "properties that are null": {"type": "object", "properties": None},
    "one of": {"oneOf": [A, B]},
    "any of": {"anyOf": [A, B], "properties": {"c": {}}},
    "all of": {"type": "object", "allOf": [A, {"if": {"required": ["a"]}, "then": B}]},
    "a reference": {"$ref": "#/$defs/A", "$defs": {"A": A}},
}


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as made:
        yield made


async def offered(stage: Stage, *tools: Tool) -> dict[str, dict[str, Any]]:
    await stage.answer(job("Hi", parameters=Parameters(tools=tools)))
    return {tool["name"]: tool for tool in stage.api.calls[-1].body["tools"]}


async def test_each_is_offered_and_so_are_those_beside_it(stage: Stage) -> None:
    tools = [Tool(name.replace(" ", "_"), "Odd.", schema) for name, schema in SCHEMAS.items()]
    shown = await offered(stage, PLAIN, *tools)
    assert shown.keys() == {"plain", *(tool.name for tool in tools)}
    assert all(tool["input_schema"]["type"] == "object" for tool in shown.values())
    assert set(shown["one_of"]["input_schema"]["properties"]) == {"a", "b"}
    assert shown["a_reference"]["input_schema"]["$defs"] == {"A": A}
    assert shown["plain"]["description"] == "Plain."
    for name in ("one_of", "any_of", "all_of"):
        rule = "The input must also match this JSON Schema: {"
        assert f"Odd.\n\n{rule}" in shown[name]["description"]


async def test_a_tool_that_the_cli_does_not_take_is_told_before_the_model_is_asked(
    stage: Stage,
) -> None:
    broken = {"type": "object", "properties": {"a": {"required": True}}}
    with pytest.raises(BadRequest, match=r"^tools: the Claude CLI does not take odd; ") as caught:
        await offered(stage, PLAIN, Tool("odd", "", broken))
    assert caught.value.param == "tools"


async def test_names_of_the_clis_own_tools_are_the_clients(stage: Stage) -> None:
    """One it keeps to itself: that is offered by another, and called by its own."""
    names = ("Agent", "Bash", "Skill", "Task", "ToolSearch", "ToolSearch_")
    tools = tuple(Tool(name, "", {"type": "object"}) for name in names)
    stage.replies = [calling(use("toolu_1", "ToolSearch__")), Reply(("Done.",), USAGE)]
    answer = await stage.answer(job("Hi", parameters=Parameters(tools=tools)))
    shown = {tool["name"] for tool in stage.api.calls[0].body["tools"]}
    assert shown == {*names} - {"ToolSearch"} | {"ToolSearch__"}
    assert [d.name for d in answer.deltas if isinstance(d, ToolCall)] == ["ToolSearch"]
    assert answer.finished.stop_reason == "tool_use"
