"""How a Messages request wants its answer: tools, thinking, format, limits.

- A tool's `cache_control` is dropped without a word: it changes no answer.
- The CLI lets the model choose, so a `tool_choice` that forces or bounds a call is ignored, and
  told; `none` is kept by offering no tool.
- `output_format` is the older name of `output_config.format`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.body import Fields, NotBlank, check, refused, shown, without_effect
from sessionbridge.apis.tools import LONGEST_NAME, check_choice, offered
from sessionbridge.turn import Effort, Parameters, Thinking, Tool

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


class _Tool(_Typed):
    name: str
    description: str | None = None
    input_schema: dict[str, Any]


class _ToolChoice(Fields):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class _Thinking(Fields):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Annotated[int, Field(ge=1024)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class _Format(Fields):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class _OutputConfig(Fields):
    effort: Effort | None = None
    format: _Format | None = None


class Asked(Fields):
    """The fields of a request that are read here."""

    max_tokens: Annotated[int, Field(ge=1)]
    tools: list[Any] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    stop_sequences: list[NotBlank] | None = None


def parameters(asked: Asked) -> tuple[Parameters, set[str]]:
    """The parameters, and the names of those without effect."""
    given = [_tool(value, f"tools.{index}") for index, value in enumerate(asked.tools or [])]
    tools = [Tool(tool.name, tool.description or "", tool.input_schema) for tool in given]
    config = asked.output_config or _OutputConfig()
    wanted = config.format or asked.output_format
    answer = Parameters(
        tools=_chosen(offered(tools, "tools.{}.name", LONGEST_NAME), asked.tool_choice),
        thinking=_thinking(asked),
        effort=config.effort,
        schema=wanted.schema_ if wanted else None,
        max_tokens=asked.max_tokens,
    )
    ignored = _extras(config, "output_config.") | _extras(asked.thinking, "thinking.")
    ignored |= _choice_without_effect(asked.tool_choice)
    return answer, ignored.union(*(_extras(tool, "tools.") for tool in given))


def _tool(value: object, field: str) -> _Tool:
    kind = check(_Typed, value, field).type
    if kind not in (None, "custom"):
        rule = f"{shown(kind)} is known to Anthropic's API alone; tools here need a schema"
        raise refused(f"{field}.type", rule)
    return check(_Tool, value, field)


def _chosen(tools: tuple[Tool, ...], choice: _ToolChoice | None) -> tuple[Tool, ...]:
    if choice is not None and choice.type == "none":
        return ()
    if choice is not None and choice.type == "tool":
        if choice.name is None:
            raise refused("tool_choice.name", "is required")
        check_choice(choice.name, {tool.name for tool in tools}, "tool_choice.name")
    return tools


def _choice_without_effect(choice: _ToolChoice | None) -> set[str]:
    forced = {"tool_choice"} if choice and choice.type in ("any", "tool") else set()
    return forced | _extras(choice, "tool_choice.")


def _thinking(asked: Asked) -> Thinking | None:
    given = asked.thinking
    if given is None or given.type == "disabled":
        return None
    budget, field = given.budget_tokens, "thinking.budget_tokens"
    if given.type == "adaptive":
        if budget is not None:
            raise refused(field, "is for thinking of the type 'enabled'")
    elif budget is None:
        raise refused(field, "is required")
    elif budget >= asked.max_tokens:
        raise refused(field, "must be less than max_tokens")
    return Thinking(budget, given.display or "summarized")


def _extras(given: Fields | None, prefix: str) -> set[str]:
    extra = given.model_extra if given else None
    return without_effect(extra, silent=SILENT, defaults=DEFAULTS, prefix=prefix)
