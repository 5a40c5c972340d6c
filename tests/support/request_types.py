"""The requests of the official packages, read from their types: which fields there are, and a value
for each.

A field is named by its path: `thinking.budget_tokens`. Where a value is of several kinds, by their
`type` (tools, content blocks), a path leads to each of them, `tools.custom`, and to the fields that
they have, `tools.strict`; likewise to each word of a fixed list, `tool_choice.none`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import typing_extensions

_QUALIFIERS = (
    typing.Required,
    typing.NotRequired,
    typing.Annotated,
    typing_extensions.Required,
    typing_extensions.NotRequired,
)
_REQUIRED = (typing.Required, typing_extensions.Required)
_EXAMPLES: Mapping[Any, Any] = {str: "x", int: 1, float: 0.5, bool: True, object: {"x": "y"}}


def hints_of(form: Any) -> dict[str, Any]:
    """The fields of a TypedDict and their types."""
    return get_type_hints(form)


@dataclass(slots=True)
class Value:
    """What a type allows: objects by their kind ("" for those that tell none), the words of a fixed
    list, and what is `simple`; also in a list (`is_list`), but for what is simple `alone`."""

    forms: dict[str, list[Any]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    simple: list[Any] = field(default_factory=list)
    alone: list[Any] = field(default_factory=list)
    is_list: bool = False

    @property
    def kinds(self) -> list[str]:
        """Where there are several."""
        found = [kind for kind in self.forms if kind]
        return found if len(found) > 1 else []

    @property
    def choices(self) -> list[str]:
        """All kinds and words; none where something else may stand there as well."""
        words = [] if self.simple or self.alone else self.words
        return list(dict.fromkeys([*self.kinds, *words]))

    def fields(self, left_out: Collection[str] = ()) -> dict[str, Any]:
        """Those of all kinds but these, each with all the types it has in them."""
        found: dict[str, Any] = {}
        for kind, forms in self.forms.items():
            for form in forms if kind not in left_out else ():
                for name, hint in hints_of(form).items():
                    if name != "type":
                        found[name] = found[name] | hint if name in found else hint
        return found

    def form_with(self, name: str, left_out: Collection[str] = ()) -> tuple[str, Any]:
        """The first kind but these that has the field, and its TypedDict."""
        for kind, forms in self.forms.items():
            for form in forms if kind not in left_out else ():
                if name in hints_of(form):
                    return kind, form
        raise LookupError(name)

    def listed(self, value: Any) -> Any:
        return [value] if self.is_list else value


def value_of(hint: Any) -> Value:
    found = Value()
    for member in _members(hint):
        origin = get_origin(member)
        if origin is Literal:
            words = get_args(member)
            found.words += [word for word in words if isinstance(word, str)]
            found.alone += [type(word) for word in words if not isinstance(word, str)]
        elif typing_extensions.is_typeddict(member):
            for kind in value_of(hints_of(member).get("type", type(None))).words or [""]:
                found.forms.setdefault(kind, []).append(member)
        elif origin in (dict, Mapping):
            found.alone.append(object)
        elif origin is not None:  # a list, whatever it is called
            _add_items(found, value_of(get_args(member)[0]))
        elif member in _EXAMPLES:
            found.alone.append(member)
    return found


def _add_items(found: Value, items: Value) -> None:
    found.is_list = True
    found.words += items.words
    found.simple += items.simple + items.alone
    for kind, forms in items.forms.items():
        found.forms.setdefault(kind, []).extend(forms)


def _members(hint: Any) -> Iterator[Any]:
    origin = get_origin(hint)
    if origin in _QUALIFIERS:
        yield from _members(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for argument in get_args(hint):
            yield from _members(argument)
    elif hint is not type(None):
        yield hint


def another(value: Any) -> Any:
    """One that differs from this one, and is as valid for all that the type says."""
    match value:
        case str():
            return f"{value}-2"
        case int() if not isinstance(value, bool):
            return value + 1
        case dict():
            return {**value, "z": 1}
    return None


def example(hint: Any, path: str, given: Mapping[str, Any]) -> Any:
    """Some value of the type, with no more in it than has to be; the `given` ones, by their paths,
    where the type alone does not tell what is valid."""
    value = value_of(hint)
    if path in given:
        return given[path]
    if value.alone:
        return _EXAMPLES[value.alone[0]]
    if value.words:
        return value.listed(value.words[0])
    if value.forms:
        kind, (form, *_) = next(iter(value.forms.items()))
        found = least(kind, form, path, given)
        if not found:  # which asks for nothing
            name, inner = next(iter(hints_of(form).items()))
            found = {name: example(inner, f"{path}.{name}", given)}
        return value.listed(found)
    return value.listed(_EXAMPLES[value.simple[0] if value.simple else object])


def least(kind: str, form: Any, path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """An object with the fields it has to have. The packages' own annotations are texts, so that
    `__required_keys__` does not know."""
    hints = get_type_hints(form, include_extras=True)
    found = {
        name: example(hint, f"{path}.{name}", given)
        for name, hint in hints.items()
        if get_origin(hint) in _REQUIRED
    }
    found |= given.get(f"{path}.*", {})
    return found | {"type": kind} if kind else found
