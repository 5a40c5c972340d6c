"""What every API asks of the names of tools."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

from sessionbridge.apis.common.body import refused
from sessionbridge.model import Tool
from sessionbridge.names import shown

LONGEST_NAME = 128
"""The Messages API's rule, which is the one the CLI is held to."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")


def allowed(word: str) -> str:
    """A name, or the id of a call, in the characters that the Messages API allows."""
    return _NOT_ALLOWED.sub("_", word)


def offered(tools: Iterable[Tool], field: str, longest: int) -> tuple[Tool, ...]:
    """The tools of a list. The name of each stands at `field`, with its number for `{}`, and has at
    most `longest` characters."""
    found: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        check_name(tool.name, found, field.format(index), longest)
        found[tool.name] = tool
    return tuple(found.values())


def check_name(name: str, earlier: Container[str], field: str, longest: int) -> None:
    """The name must not be that of an `earlier` tool, and have at most `longest` characters."""
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise refused(field, f"must be 1 to {longest} letters, digits, _ or -")
    if name in earlier:
        raise refused(field, f"names must be unique, and {shown(name)} is not")


def check_schema(schema: Mapping[str, Any], field: str) -> None:
    """The input of a call is an object. Where the schema does not say so, it is meant all the
    same."""
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise refused(f"{field}.type", "must be object, as the input of a call is one")


def check_choice(name: str, names: Container[str], field: str) -> None:
    """The tool that the client wants called must be one of its own."""
    if name not in names:
        raise refused(field, f"{shown(name)} is not one of the tools of this request")
