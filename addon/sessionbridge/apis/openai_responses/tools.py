"""The tools of a Responses request, and by which name the model knows each (see
`openai_responses`).

- `function` tools are the neutral form already, `custom` ones take text (see `free_text`).
- `namespace` tools hold further ones. The model has one list of names, so it is offered
  `<namespace>__<name>`; in a call they are two fields again. What the namespace is for is told with
  the first of its tools.
- Items of the conversation may bring more tools; one that is there already is replaced.
- All others run at OpenAI or inside its clients, and the CLI has nothing to put in their place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from typing import Any, Literal

from sessionbridge.apis.common import free_text
from sessionbridge.apis.common.body import (
    Fields,
    NotBlank,
    Tools,
    check,
    refused,
    without_effect,
)
from sessionbridge.apis.common.openai_parameters import NO_PARAMETERS
from sessionbridge.apis.common.tools import LONGEST_NAME, allowed, check_name, check_schema
from sessionbridge.model import Tool
from sessionbridge.names import shown

# They say who may call a tool, when it is shown and what its result looks like; the model is not
# asked anything by them.
SILENT = frozenset({"type", "allowed_callers", "async", "defer_loading", "output_schema"})
DEFAULTS = {"strict": False}

FullName = tuple[str | None, str]
"""A namespace, or None, and a name in it."""


class _Typed(Fields):
    type: NotBlank


class _Function(Fields):
    name: NotBlank
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Format(Fields):
    type: Literal["text", "grammar"]


class _Grammar(_Format):
    syntax: str
    definition: str


class _Custom(Fields):
    name: NotBlank
    description: str | None = None
    format: Any = None


class _Namespace(Fields):
    name: NotBlank
    description: str | None = None
    tools: Tools


class Offers:
    """The tools of one request, each once. `ignored` names what of them has no effect."""

    def __init__(self, tools: Iterable[Any]) -> None:
        self.ignored: set[str] = set()
        self._by_full_name: dict[FullName, Tool] = {}
        self._called: dict[str, FullName] = {}
        """Those above by the names that the model knows them by."""
        self._first: dict[str | None, FullName] = {}
        """Of each namespace."""
        self._again = False
        for index, value in enumerate(tools):
            self._add(value, f"tools.{index}", None)

    def add(self, tools: Iterable[Any], field: str) -> None:
        """Those that an item of the conversation brings, which may be there already."""
        self._again = True
        for index, value in enumerate(tools):
            self._add(value, f"{field}.{index}", None)

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(self._by_full_name.values())

    @property
    def full_names(self) -> set[FullName]:
        """What the client calls them."""
        return set(self._by_full_name)

    def name(self, name: str, namespace: str | None) -> str:
        """The name the model knows a tool by, offered or not."""
        tool = self._by_full_name.get((namespace, name))
        return tool.name if tool else tool_name(name, namespace)

    def _add(self, value: Any, field: str, space: _Namespace | None) -> None:
        match check(_Typed, value, field).type:
            case "function":
                self._offer_function(check(_Function, value, field), field, space)
            case "custom":
                self._offer_custom(check(_Custom, value, field), field, space)
            case "namespace" if space is None:
                inner = check(_Namespace, value, field)
                for index, tool in enumerate(inner.tools):
                    self._add(tool, f"{field}.tools.{index}", inner)
                self._note(inner.model_extra)
            case other:
                self._note({other: True})

    def _offer_function(self, given: _Function, field: str, space: _Namespace | None) -> None:
        schema = NO_PARAMETERS if given.parameters is None else given.parameters
        check_schema(schema, f"{field}.parameters")
        self._offer(Tool(given.name, given.description or "", schema), field, space)
        self._note(given.model_extra)

    def _offer_custom(self, given: _Custom, field: str, space: _Namespace | None) -> None:
        syntax, definition = _grammar(given.format, f"{field}.format")
        told = free_text.described(given.description, syntax, definition)
        self._offer(Tool(given.name, told, free_text.SCHEMA, takes_text=True), field, space)
        self._note(given.model_extra)

    def _offer(self, tool: Tool, field: str, space: _Namespace | None) -> None:
        namespace = space.name if space else None
        full_name = namespace, tool.name
        check_name(tool.name, (), f"{field}.name", LONGEST_NAME)
        if full_name in self._by_full_name and not self._again:
            raise refused(f"{field}.name", f"names must be unique, and {shown(tool.name)} is not")
        if space is not None:
            first = self._first.setdefault(namespace, full_name)
            about = space.description if first == full_name else None
            told = "\n\n".join(filter(None, [about, tool.description]))
            name = self._free_name(tool_name(tool.name, namespace), full_name)
            tool = replace(tool, name=name, description=told, called=tool.name, namespace=namespace)
        elif self._is_taken(tool.name, full_name):
            name = self._free_name(tool.name, full_name)
            tool = replace(tool, name=name, called=tool.name)
        if before := self._by_full_name.get(full_name):
            del self._called[before.name]
        self._by_full_name[full_name] = tool
        self._called[tool.name] = full_name

    def _is_taken(self, name: str, full_name: FullName) -> bool:
        return self._called.get(name, full_name) != full_name

    def _free_name(self, wanted: str, full_name: FullName) -> str:
        """Names that are too long, or are those of another, have a number at their end."""
        name = wanted[:LONGEST_NAME]
        numbers = count(2)
        while self._is_taken(name, full_name):
            end = f"_{next(numbers)}"
            name = wanted[: LONGEST_NAME - len(end)] + end
        return name

    def _note(self, fields: dict[str, Any] | None) -> None:
        self.ignored |= without_effect(fields, silent=SILENT, defaults=DEFAULTS, prefix="tools.")


def _grammar(form: object, field: str) -> tuple[str, str]:
    """Syntax and definition, which are empty where any text will do."""
    if form is None or check(_Format, form, field).type == "text":
        return "", ""
    grammar = check(_Grammar, form, field)
    return grammar.syntax, grammar.definition


def tool_name(name: str, namespace: str | None) -> str:
    """The name the model knows a tool by, unless that is another's."""
    return name if namespace is None else allowed(f"{namespace}__{name}")
