"""The body of a request: bytes from outside to a checked model, or a `BadRequest` naming the field.

Promises: whatever the bytes are, nothing but `BadRequest` is raised; its sentence names a field and
a rule, and never repeats a value, so a prompt cannot reach a log or a header this way. What passes
can be written again as strict JSON in UTF-8.

All APIs allow as the content of a message a string, or a list of objects that each have a `type`;
which types there are, and what they hold, is each API's own affair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints, ValidationError

from sessionbridge.errors import BadRequest
from sessionbridge.names import is_plain, shown

MAX_DEPTH = 200
"""Levels of nesting. JSON Schemas of tools stay below 30; Python's own reader and writer give up at
some hundreds, depending on the stack, so what is read here could fail to be written later."""

MOST_VALUES = 1_000_000
"""Of a body, or of a JSON text in it: objects, lists, and what is in them. A conversation of
100,000 messages has some 600,000; 20 MB of `{}` are seven million, which is half a gigabyte once
they are read."""

MOST_MESSAGES = 100_000
"""The Messages API's limit (https://docs.anthropic.com/en/api/messages), for all that holds the
messages of a conversation."""

MOST_TOOLS = 10_000
"""The Messages API's limit for those that a model searches
(https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/tool-search-tool), which is the most
that any of the APIs takes."""

type Listed[T] = Annotated[list[T], FailFast()]
"""A list whose first wrong item is enough: pydantic would go on to the end, and keep an error of a
kilobyte for each."""

Tools = Annotated[list[Any], Field(max_length=MOST_TOOLS)]

NotBlank = Annotated[str, StringConstraints(pattern=r"\S")]

ORIGIN_FIELDS = frozenset({"session_id", "conversation_id", "litellm_session_id", "conversation"})
"""Fields that tell the bridge whose conversation it is: they do have an effect."""

_MARKS = (",", "[", "{")
"""Each value of JSON has one before it."""

_RULES = {
    "missing": "is required",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length:,} items",
    "string_pattern_mismatch": "must not be blank",
}


class Fields(BaseModel):
    """An object of a request. Strict, because `"1"` for 1 is refused by the APIs too."""

    model_config = ConfigDict(extra="allow", strict=True)


class _BrokenRule(ValueError):
    """A rule of this file that the JSON breaks; the text is safe to show."""


def read[M: Fields](form: type[M], body: bytes, model: str | None = None) -> M:
    """A request body in the form of its API; `model` is that of one that names none."""
    return check(form, load_body(body, model), "")


def load_body(body: bytes, model: str | None = None) -> Any:
    """The same as the JSON it is."""
    value = load(body, "")
    if model is not None and isinstance(value, dict):
        value.setdefault("model", model)
    return value


def check[M: Fields](model: type[M], value: object, field: str) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    # Raised outside the handler: the pydantic error holds the values, and must not be chained.
    if known := _RULES.get(first["type"]):
        rule = known.format_map(first.get("ctx", {}))
    else:
        rule = first["msg"][:1].lower() + first["msg"][1:]
    raise refused(".".join(filter(None, (field, *map(str, first["loc"])))), rule)


def load(text: bytes | str, field: str) -> Any:
    """Strict JSON: UTF-8, no field twice, no NaN or Infinity, nothing that cannot be sent on."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        _check_number(decoded)
        value = json.loads(decoded, object_pairs_hook=_without_duplicates)
        check_values(value)
        return value
    except RecursionError:
        rule = f"must not be nested deeper than {MAX_DEPTH} levels"
    except UnicodeError:
        rule = "must be valid UTF-8 without lone surrogates"
    except json.JSONDecodeError as error:
        rule = f"must be JSON (line {error.lineno}, column {error.colno})"
    except _BrokenRule as error:
        rule = str(error)
    except ValueError:  # the one left is Python's own limit (sys.set_int_max_str_digits)
        rule = "must not hold integers of thousands of digits"
    raise refused(field, rule)


def _check_number(text: str) -> None:
    """Whether there are not too many values, told by their marks alone: read, they would take most
    of their time and memory."""
    if sum(map(text.count, _MARKS)) <= MOST_VALUES:
        return
    # Those within texts do not count. A quotation mark that is none is a pair with its backslash.
    plain = text.replace(r"\\", "").replace(r"\"", "")
    if plain.count('"') <= 4 * MOST_VALUES:  # two for a value, and for its name
        outside = "".join(plain.split('"')[::2])
        if sum(map(outside.count, _MARKS)) <= MOST_VALUES:
            return
    raise _BrokenRule(f"must not hold more than {MOST_VALUES:,} values")


def refused(field: str, rule: str) -> BadRequest:
    """The sentence every refusal has; a field of "" is the body itself."""
    return BadRequest(f"{field or 'the request body'}: {rule}", param=field or None)


def without_effect(
    parameters: Mapping[str, Any] | None,
    *,
    silent: frozenset[str],
    defaults: Mapping[str, Any],
    prefix: str = "",
) -> set[str]:
    """Names of the parameters that ask for something and are not obeyed.

    Null, an empty list or object and the API's default ask for nothing. The names end in a response
    header, so one that is no plain name is told as `(other)`.
    """
    return {
        prefix + (name if is_plain(name) else "(other)")
        for name, value in (parameters or {}).items()
        if name not in silent | ORIGIN_FIELDS
        and value not in (None, [], {})
        and not (name in defaults and defaults[name] == value)
    }


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        # Readers differ in which one they take, so client and bridge could mean different things.
        raise _BrokenRule("must not name a field twice in one object")
    return fields


def check_values(value: object) -> None:
    """Whether it can be written again as strict JSON in UTF-8; raises ValueError or RecursionError.
    Level by level instead of recursively, so that depth itself cannot hurt."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise RecursionError


def _children(node: object) -> list[Any]:
    match node:
        case str() if not node.isascii():
            node.encode()  # fails on a lone surrogate, which JSON can spell and UTF-8 cannot
        case float() if not math.isfinite(node):
            raise _BrokenRule("must not hold NaN, Infinity or numbers beyond a double's range")
        case dict():
            return [*node.keys(), *node.values()]
        case list():
            return node
    return []


class Part(NamedTuple):
    """One part of a content list; `field` is its place, such as `messages.0.content.2`."""

    field: str
    type: str
    value: dict[str, Any]


class _Typed(Fields):
    type: str


class _Text(Fields):
    text: str


def parts(content: object, field: str) -> Iterator[Part]:
    """The parts of a content; a string is one part of text."""
    if isinstance(content, str):
        # Not `….0`: the client wrote no list, so an error about it must not name one.
        yield Part(field, "text", {"type": "text", "text": content})
        return
    if not isinstance(content, list):
        raise refused(field, "must be a string or a list of objects with a type")
    for index, value in enumerate(content):
        place = f"{field}.{index}"
        yield Part(place, check(_Typed, value, place).type, value)


def text_of(part: Part) -> str:
    return check(_Text, part.value, part.field).text


def texts(content: object, field: str) -> Iterator[str]:
    """The texts of a content that may hold nothing else, as a system prompt."""
    for part in parts(content, field):
        if part.type != "text":
            raise unknown(part, ["text"])
        yield text_of(part)


def unknown(part: Part, known: Iterable[str]) -> BadRequest:
    return refused(
        f"{part.field}.type",
        f"{shown(part.type)} is not a content block this bridge knows;"
        f" it knows {', '.join(known)} here",
    )
