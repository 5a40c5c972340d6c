"""How a Chat Completions request wants its answer: tools, reasoning, format, limits.

- The CLI lets the model choose, so a `tool_choice` that forces a call is ignored, and told; `none`
  is kept by offering no tool.
- `functions` and `function_call` are the older names of `tools` and `tool_choice`, `max_tokens` is
  that of `max_completion_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.body import Fields, check, refused, shown, without_effect
from sessionbridge.apis.openai_parameters import (
    NO_PARAMETERS,
    FormatType,
    LeastEffort,
    effort_of,
    schema_of,
)
from sessionbridge.apis.tools import check_choice, offered
from sessionbridge.turn import Parameters, Thinking, Tool

LONGEST_NAME = 64
MOST_STOPS = 4
# `cache_control` is no field of this API, but clients of both send it; it changes no answer.
SILENT = frozenset({"cache_control"})
DEFAULTS = {"strict": False}

Tokens = Annotated[int, Field(ge=1)]


class _Typed(Fields):
    type: str


class _Function(Fields):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _FunctionTool(_Typed):
    function: _Function


class _Named(Fields):
    name: str


class _NamedTool(Fields):
    type: Literal["function"]
    function: _Named


class _JsonSchema(Fields):
    name: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class _ResponseFormat(Fields):
    type: FormatType
    json_schema: _JsonSchema | None = None


class _Stop(Fields):
    stop: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MOST_STOPS)]


class Asked(Fields):
    """The fields of a request that are read here."""

    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[_Function] | None = None
    function_call: Any = None
    reasoning_effort: Literal[LeastEffort, "low", "medium", "high", "xhigh"] | None = None
    response_format: _ResponseFormat | None = None
    max_completion_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    stop: Any = None


def parameters(asked: Asked) -> tuple[Parameters, set[str]]:
    """The parameters, and the names of those without effect."""
    if asked.tools and asked.functions:
        raise refused("functions", "must not be given together with tools")
    given = [_tool(value, f"tools.{index}") for index, value in enumerate(asked.tools or [])]
    functions = asked.functions or []
    tools = _offered((tool.function for tool in given), "tools.{}.function.name")
    tools += _offered(functions, "functions.{}.name")
    effort = effort_of(asked.reasoning_effort)
    answer = Parameters(
        tools=tools if _may_call(asked, tools) else (),
        thinking=Thinking() if effort else None,
        effort=effort,
        schema=_schema(asked.response_format),
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
    )
    wanted = asked.response_format and asked.response_format.json_schema
    return answer, _choice_without_effect(asked).union(
        *(_extras(tool, "tools.") | _extras(tool.function, "tools.") for tool in given),
        *(_extras(function, "functions.") for function in functions),
        _extras(wanted, "response_format."),
    )


def stops(asked: Asked) -> tuple[str, ...]:
    """The stop sequences; a single one needs no list."""
    if asked.stop is None:
        return ()
    given = [asked.stop] if isinstance(asked.stop, str) else asked.stop
    return tuple(check(_Stop, {"stop": given}, "").stop)


def _tool(value: object, field: str) -> _FunctionTool:
    kind = check(_Typed, value, field).type
    if kind != "function":
        rule = f"{shown(kind)} is not a type of tool this bridge can offer; it can function"
        raise refused(f"{field}.type", rule)
    return check(_FunctionTool, value, field)


def _offered(functions: Iterable[_Function], field: str) -> tuple[Tool, ...]:
    tools = (
        Tool(f.name, f.description or "", NO_PARAMETERS if f.parameters is None else f.parameters)
        for f in functions
    )
    return offered(tools, field, LONGEST_NAME)


def _may_call(asked: Asked, tools: tuple[Tool, ...]) -> bool:
    names = {tool.name for tool in tools}
    match asked.tool_choice:
        case None | "auto" | "none" | "required":
            pass
        case {"type": "function"}:
            named = check(_NamedTool, asked.tool_choice, "tool_choice").function
            check_choice(named.name, names, "tool_choice.function.name")
        case _:
            raise refused("tool_choice", "must be none, auto, required or a function")
    match asked.function_call:
        case None | "auto" | "none":
            pass
        case dict():
            name = check(_Named, asked.function_call, "function_call").name
            check_choice(name, names, "function_call.name")
        case _:
            raise refused("function_call", "must be none, auto or a function")
    return "none" not in (asked.tool_choice, asked.function_call)


def _choice_without_effect(asked: Asked) -> set[str]:
    choices = {"tool_choice": asked.tool_choice, "function_call": asked.function_call}
    return {name for name, choice in choices.items() if choice not in (None, "auto", "none")}


def _schema(wanted: _ResponseFormat | None) -> Mapping[str, Any] | None:
    if wanted is None:
        return None
    given = wanted.json_schema.schema_ if wanted.json_schema else None
    return schema_of(wanted.type, given, "response_format.json_schema")


def _extras(given: Fields | None, prefix: str) -> set[str]:
    extra = given.model_extra if given else None
    return without_effect(extra, silent=SILENT, defaults=DEFAULTS, prefix=prefix)
