"""The tools of a Responses request, and by which name the model knows each (see
`openai_responses`).

- `function` tools are the neutral form already.
- `custom` tools take text instead of JSON: the model is offered one with a text as its only input,
  and a grammar is told in words, because nothing here can hold a model to it.
- `namespace` tools hold further ones. The model has one list of names, so it is offered
  `<namespace>__<name>`; in a call they are two fields again.
- All others run at OpenAI or inside its clients, and the CLI has nothing to put in their place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from sessionbridge.apis.body import Fields, NotBlank, check, without_effect
from sessionbridge.apis.openai_parameters import NO_PARAMETERS
from sessionbridge.apis.tools import LONGEST_NAME, check_name
from sessionbridge.turn import Tool

TEXT_ONLY = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}

# They say who may call a tool, when it is shown and what its result looks like; the model is not
# asked anything by them.
SILENT = frozenset({"type", "allowed_callers", "async", "defer_loading", "output_schema"})
DEFAULTS = {"strict": False}


class _Typed(Fields):
    type: NotBlank


class _Function(Fields):
    name: NotBlank
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Text(Fields):
    type: Literal["text"]


class _Grammar(Fields):
    type: Literal["grammar"]
    syntax: str
    definition: str


class _Custom(Fields):
    name: NotBlank
    description: str | None = None
    format: _Text | _Grammar | None = None


class _Namespace(Fields):
    name: NotBlank
    tools: list[Any]


class Offer(NamedTuple):
    """A tool as the model is shown it, and how the API spells a call of it."""

    tool: Tool
    custom: bool
    name: str
    namespace: str | None


class Offers:
    """The tools of one request. `ignored` names what of them has no effect."""

    def __init__(self, tools: Iterable[Any]) -> None:
        self.ignored: set[str] = set()
        self._by_name: dict[str, Offer] = {}
        for index, value in enumerate(tools):
            self._add(value, f"tools.{index}", namespace=None)

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(offer.tool for offer in self._by_name.values())

    @property
    def names(self) -> set[str]:
        """What the client calls them, in whatever namespace."""
        return {offer.name for offer in self._by_name.values()}

    def called(self, name: str) -> Offer:
        """What a call by this name is of; a name that nobody offered is a function's."""
        return self._by_name.get(name) or Offer(Tool(name, "", {}), False, name, None)

    def _add(self, value: Any, field: str, namespace: str | None) -> None:
        match check(_Typed, value, field).type:
            case "function":
                self._offer_function(check(_Function, value, field), field, namespace)
            case "custom":
                self._offer_custom(check(_Custom, value, field), field, namespace)
            case "namespace" if namespace is None:
                inner = check(_Namespace, value, field)
                for index, tool in enumerate(inner.tools):
                    self._add(tool, f"{field}.tools.{index}", inner.name)
            case other:
                self._note({other: True})

    def _offer_function(self, given: _Function, field: str, namespace: str | None) -> None:
        name = tool_name(given.name, namespace)
        tool = Tool(name, given.description or "", given.parameters or NO_PARAMETERS)
        self._offer(Offer(tool, False, given.name, namespace), field)
        self._note(given.model_extra)

    def _offer_custom(self, given: _Custom, field: str, namespace: str | None) -> None:
        told = [given.description or ""]
        if isinstance(given.format, _Grammar):
            rule = f"The input must follow this {given.format.syntax} grammar:"
            told.append(f"{rule}\n{given.format.definition}")
        tool = Tool(tool_name(given.name, namespace), "\n\n".join(filter(None, told)), TEXT_ONLY)
        self._offer(Offer(tool, True, given.name, namespace), field)
        self._note(given.model_extra)

    def _offer(self, offer: Offer, field: str) -> None:
        name = offer.tool.name  # the model is told the namespace too, so the rule is for both
        check_name(name, self._by_name, f"{field}.name", LONGEST_NAME)
        self._by_name[name] = offer

    def _note(self, fields: dict[str, Any] | None) -> None:
        self.ignored |= without_effect(fields, silent=SILENT, defaults=DEFAULTS, prefix="tools.")


def tool_name(name: str, namespace: str | None) -> str:
    """The name the model knows a tool by."""
    return name if namespace is None else f"{namespace}__{name}"
