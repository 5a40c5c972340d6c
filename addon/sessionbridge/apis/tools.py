"""What every API asks of the names of tools."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sessionbridge.apis.body import refused, shown
from sessionbridge.turn import Tool

_NAME = re.compile(r"[A-Za-z0-9_-]+")


def offered(tools: Iterable[Tool], field: str, longest: int) -> tuple[Tool, ...]:
    """The tools of a list. The name of each stands at `field`, with its number for `{}`, and has at
    most `longest` characters."""
    found: dict[str, Tool] = {}
    for index, tool in enumerate(tools):
        place = field.format(index)
        if not _NAME.fullmatch(tool.name) or len(tool.name) > longest:
            raise refused(place, f"must be 1 to {longest} letters, digits, _ or -")
        if tool.name in found:
            raise refused(place, f"names must be unique, and {shown(tool.name)} is not")
        found[tool.name] = tool
    return tuple(found.values())


def check_choice(name: str, tools: Iterable[Tool], field: str) -> None:
    """The tool that the client wants called must be one of its own."""
    if all(tool.name != name for tool in tools):
        raise refused(field, f"{shown(name)} is not one of the tools of this request")
