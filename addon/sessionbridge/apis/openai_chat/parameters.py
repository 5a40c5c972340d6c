"""How a Chat Completions request wants its answer: tools, reasoning, format, limits.

- The CLI lets the model choose, so a `tool_choice` that forces a call is ignored, and told; `none`
  is kept by offering no tool, `allowed_tools` by offering no other.
- `custom` tools take text (see `free_text`).
- `functions` and `function_call` are the older names of `tools` and `tool_choice`, `max_tokens` is
  that of `max_completion_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.common import free_text
from sessionbridge.apis.common.body import (
    MOST_TOOLS,
    Fields,
    Listed,
    Tools,
    check,
    refused,
    without_effect,
)
from sessionbridge.apis.common.openai_parameters import (
    NO_PARAMETERS,
    FormatType,
    LeastEffort,
    effort_of,
    is_free_choice,
    schema_of,
)
from sessionbridge.apis.common.tools import check_choice, check_schema, offered
from sessionbridge.model import Effort, Parameters, Thinking, Tool
from sessionbridge.names import shown

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


class _GrammarText(Fields):
    syntax: str
    definition: str


class _Format(Fields):
    type: Literal["text", "grammar"]


class _Grammar(_Format):
    grammar: _GrammarText


class _Custom(Fields):
    name: str
    description: str | None = None
    format: Any = None


class _CustomTool(_Typed):
    custom: _Custom


class _Named(Fields):
    name: str


class _NamedTool(Fields):
    """One of the two is there, as `type` says."""

    type: Literal["function", "custom"]
    function: _Named | None = None
    custom: _Named | None = None

    @property
    def name(self) -> str | None:
        named = self.function if self.type == "function" else self.custom
        return named.name if named else None


class _Allowed(Fields):
    mode: Literal["auto", "required"]
    tools: Listed[_NamedTool]


class _AllowedTools(Fields):
    allowed_tools: _Allowed


class _JsonSchema(Fields):
    name: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class _ResponseFormat(Fields):
    type: FormatType
    json_schema: _JsonSchema | None = None


class _Stop(Fields):
    stop: Annotated[Listed[Annotated[str, Field(min_length=1)]], Field(max_length=MOST_STOPS)]


class ParameterFields(Fields):
    """The fields of a request that are read here."""

    tools: Tools | None = None
    tool_choice: Any = None
    functions: Annotated[Listed[_Function], Field(max_length=MOST_TOOLS)] | None = None
    function_call: Any = None
    reasoning_effort: Literal[LeastEffort, Effort] | None = None
    response_format: _ResponseFormat | None = None
    max_completion_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    stop: Any = None


def parameters(asked: ParameterFields) -> tuple[Parameters, set[str]]:
    """The parameters, and the names of those without effect."""
    if asked.tools and asked.functions:
        raise refused("functions", "must not be given together with tools")
    given = [_tool(value, f"tools.{index}") for index, value in enumerate(asked.tools or [])]
    functions = asked.functions or []
    told = [_function(f, f"functions.{index}.parameters") for index, f in enumerate(functions)]
    tools = offered((tool for tool, _ in given), "tools.{}.function.name", LONGEST_NAME)
    tools += offered(told, "functions.{}.name", LONGEST_NAME)
    effort = effort_of(asked.reasoning_effort)
    answer = Parameters(
        tools=_callable(asked, tools),
        thinking=Thinking() if effort else None,
        effort=effort,
        schema=_schema(asked.response_format),
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
    )
    wanted = asked.response_format and asked.response_format.json_schema
    return answer, _choice_without_effect(asked).union(
        *(extras for _, extras in given),
        *(_extras(function, "functions.") for function in functions),
        _extras(wanted, "response_format."),
    )


def stops(asked: ParameterFields) -> tuple[str, ...]:
    """The stop sequences; a single one needs no list."""
    if asked.stop is None:
        return ()
    given = [asked.stop] if isinstance(asked.stop, str) else asked.stop
    return tuple(check(_Stop, {"stop": given}, "").stop)


def _tool(value: object, field: str) -> tuple[Tool, set[str]]:
    """A tool, and what of it has no effect."""
    match check(_Typed, value, field).type:
        case "function":
            given = check(_FunctionTool, value, field)
            tool = _function(given.function, f"{field}.function.parameters")
            return tool, _extras(given, "tools.") | _extras(given.function, "tools.")
        case "custom":
            custom = check(_CustomTool, value, field)
            tool = _custom(custom.custom, f"{field}.custom")
            return tool, _extras(custom, "tools.") | _extras(custom.custom, "tools.")
        case kind:
            rule = f"{shown(kind)} is not a type of tool of this API; it has function and custom"
            raise refused(f"{field}.type", rule)


def _function(given: _Function, field: str) -> Tool:
    schema = NO_PARAMETERS if given.parameters is None else given.parameters
    check_schema(schema, field)
    return Tool(given.name, given.description or "", schema)


def _custom(given: _Custom, field: str) -> Tool:
    syntax, definition = _grammar(given.format, f"{field}.format")
    told = free_text.described(given.description, syntax, definition)
    return Tool(given.name, told, free_text.SCHEMA, takes_text=True)


def _grammar(form: object, field: str) -> tuple[str, str]:
    """Syntax and definition, which are empty where any text will do."""
    if form is None or check(_Format, form, field).type == "text":
        return "", ""
    grammar = check(_Grammar, form, field).grammar
    return grammar.syntax, grammar.definition


def _callable(asked: ParameterFields, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Those that may be called. The CLI lets the model choose among them."""
    names = {tool.name for tool in tools}
    match asked.tool_choice:
        case None | "auto" | "none" | "required":
            pass
        case {"type": "function" | "custom" as kind}:
            named = check(_NamedTool, asked.tool_choice, "tool_choice").name
            if named is None:
                raise refused(f"tool_choice.{kind}", "is required")
            check_choice(named, names, f"tool_choice.{kind}.name")
        case {"type": "allowed_tools"}:
            allowed = check(_AllowedTools, asked.tool_choice, "tool_choice").allowed_tools
            listed = {tool.name for tool in allowed.tools}
            tools = tuple(tool for tool in tools if tool.name in listed)
        case _:
            raise refused("tool_choice", "must be none, auto, required, or name tools")
    match asked.function_call:
        case None | "auto" | "none":
            pass
        case dict():
            name = check(_Named, asked.function_call, "function_call").name
            check_choice(name, names, "function_call.name")
        case _:
            raise refused("function_call", "must be none, auto or a function")
    return () if "none" in (asked.tool_choice, asked.function_call) else tools


def _choice_without_effect(asked: ParameterFields) -> set[str]:
    choices = {"tool_choice": asked.tool_choice, "function_call": asked.function_call}
    return {name for name, choice in choices.items() if not is_free_choice(choice)}


def _schema(wanted: _ResponseFormat | None) -> Mapping[str, Any] | None:
    if wanted is None:
        return None
    given = wanted.json_schema.schema_ if wanted.json_schema else None
    return schema_of(wanted.type, given, "response_format.json_schema")


def _extras(given: Fields | None, prefix: str) -> set[str]:
    extra = given.model_extra if given else None
    return without_effect(extra, silent=SILENT, defaults=DEFAULTS, prefix=prefix)
