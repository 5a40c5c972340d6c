"""The content of a message: both APIs allow a string, or a list of objects that each have a `type`.

Which types there are, and what they hold, is each API's own affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sessionbridge.apis.common.body import Fields, check, refused, shown
from sessionbridge.errors import BadRequest


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
