"""How a Messages request wants its answer: tools, thinking, format, limits.

- A tool's `cache_control` is dropped without a word: it changes no answer.
- The CLI lets the model choose, so a `tool_choice` that forces or bounds a call is ignored, and
  told; `none` is kept by offering no tool.
- Tools that run at Anthropic, or whose schema it alone knows, are not offered, and told.
- Thinking `between_tools` is none: what the model writes between its calls comes as text anyway.
- `output_format` is the older name of `output_config.format`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.common.body import (
    Fields,
    Listed,
    NotBlank,
    Tools,
    check,
    refused,
    without_effect,
)
from sessionbridge.apis.common.tools import LONGEST_NAME, check_choice, check_schema, offered
from sessionbridge.model import Effort, Parameters, Thinking, Tool

SILENT = frozenset({"cache_control"})
# What happens anyway.
DEFAULTS = {
    "allowed_callers": ["direct"],
    "defer_loading": False,
    "disable_parallel_tool_use": False,
    "eager_input_streaming": False,
    "strict": False,
}


class _Typed(Fields):
    type: str | None = None
    name: str | None = None


class _Tool(_Typed):
    name: str
    description: str | None = None
    input_schema: dict[str, Any]


class _ToolChoice(Fields):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class _Thinking(Fields):
    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: Annotated[int, Field(ge=1024)] | None = None
    display: Literal["summarized", "omitted", "updates"] | None = None


class _Format(Fields):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class _OutputConfig(Fields):
    effort: Effort | None = None
    format: _Format | None = None


class ParameterFields(Fields):
    """The fields of a request that are read here."""

    max_tokens: Annotated[int, Field(ge=0)]
    tools: Tools | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    stop_sequences: Listed[NotBlank] | None = None


def parameters(asked: ParameterFields, *, is_whole: bool) -> tuple[Parameters, set[str]]:
    """The parameters, and the names of those without effect. Unless the request `is_whole`, there
    may be tools that it does not name."""
    knows_tools = is_whole or asked.tools is not None
    config = asked.output_config or _OutputConfig()
    wanted = config.format or asked.output_format
    answer = Parameters(
        tools=_chosen(given_tools(asked), asked, knows_tools=knows_tools),
        thinking=_thinking(asked, may_call=bool(asked.tools) or not knows_tools),
        effort=config.effort,
        schema=wanted.schema_ if wanted else None,
        max_tokens=asked.max_tokens or None,
    )
    ignored = _extras(config, "output_config.") | _extras(asked.thinking, "thinking.")
    if asked.thinking and asked.thinking.display == "updates":
        ignored.add("thinking.display")  # the CLI knows the other two
    ignored |= _not_offered(asked)
    ignored |= _choice_without_effect(asked.tool_choice)
    return answer, ignored.union(*(_extras(tool, "tools.") for tool in _given(asked)))


def given_tools(asked: ParameterFields) -> tuple[Tool, ...]:
    """The client's own."""
    tools = (Tool(t.name, t.description or "", t.input_schema) for t in _given(asked))
    return offered(tools, "tools.{}.name", LONGEST_NAME)


def for_replies(asked: ParameterFields) -> Iterator[str]:
    """The fields that would only show in a reply."""
    if asked.output_config and asked.output_config.format:
        yield "output_config.format"
    if asked.output_format:
        yield "output_format"
    if asked.tool_choice and asked.tool_choice.type in ("any", "tool"):
        yield "tool_choice"


def _given(asked: ParameterFields) -> Iterator[_Tool]:
    for index, value in enumerate(asked.tools or []):
        field = f"tools.{index}"
        if _is_the_clients(value, field):
            tool = check(_Tool, value, field)
            check_schema(tool.input_schema, f"{field}.input_schema")
            yield tool


def _not_offered(asked: ParameterFields) -> set[str]:
    kinds = {
        tool["type"]: True
        for index, tool in enumerate(asked.tools or [])
        if not _is_the_clients(tool, f"tools.{index}")
    }
    return without_effect(kinds, silent=SILENT, defaults={}, prefix="tools.")


def _is_the_clients(tool: object, field: str) -> bool:
    return check(_Typed, tool, field).type in (None, "custom")


def _chosen(
    tools: tuple[Tool, ...], asked: ParameterFields, *, knows_tools: bool
) -> tuple[Tool, ...]:
    choice = asked.tool_choice
    if choice is not None and choice.type == "none":
        return ()
    if choice is not None and choice.type == "tool":
        if choice.name is None:
            raise refused("tool_choice.name", "is required")
        if knows_tools:
            # Of whatever kind.
            names = [check(_Typed, tool, "tools").name or "" for tool in asked.tools or []]
            check_choice(choice.name, names, "tool_choice.name")
    return tools


def _choice_without_effect(choice: _ToolChoice | None) -> set[str]:
    forced = {"tool_choice"} if choice and choice.type in ("any", "tool") else set()
    return forced | _extras(choice, "tool_choice.")


def _thinking(asked: ParameterFields, *, may_call: bool) -> Thinking | None:
    given = asked.thinking
    if given is None or given.type in ("disabled", "between_tools"):
        return None
    budget, field = given.budget_tokens, "thinking.budget_tokens"
    if given.type == "adaptive":
        if budget is not None:
            raise refused(field, "is for thinking of the type 'enabled'")
    elif budget is None:
        raise refused(field, "is required")
    elif budget >= asked.max_tokens and not may_call:
        # Between calls of tools it is the budget of them all
        # (https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking#interleaved-thinking).
        raise refused(field, "must be less than max_tokens")
    return Thinking(budget, "omitted" if given.display == "omitted" else "summarized")


def _extras(given: Fields | None, prefix: str) -> set[str]:
    extra = given.model_extra if given else None
    return without_effect(extra, silent=SILENT, defaults=DEFAULTS, prefix=prefix)
