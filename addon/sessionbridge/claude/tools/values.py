"""The values that a client's tool allows, in the client's own characters.

The Claude CLI normalises all text in schemas and descriptions and takes characters out of it that
show nothing, so the model is offered `1⁄2 cup` where the client has `½ cup`, and answers that.
Measured with 2.1.332 for every character; there is no spelling that it leaves alone.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sessionbridge.model import Delta, Tool, ToolCall, ToolInput

_TAKEN_OUT = ("Cf", "Co", "Cn")
"""Categories of Unicode: format characters, those for private use, unassigned ones."""


def changed_values(schema: object) -> dict[str, str]:
    """The client's values by what the model is offered in their place, where it is another. What
    could be several of the client's is left as it is."""
    found: dict[str, set[str]] = {}
    for value in _listed(schema):
        found.setdefault(_as_offered(value), set()).add(value)
    return {
        offered: value
        for offered, values in found.items()
        for value in values
        if len(values) == 1 and value != offered
    }


def _listed(schema: object) -> Iterator[str]:
    """Strings that are values of `enum` or `const`, wherever they stand."""
    if isinstance(schema, Mapping):
        if isinstance(listed := schema.get("enum"), list):
            yield from (value for value in listed if isinstance(value, str))
        if isinstance(value := schema.get("const"), str):
            yield value
        for part in schema.values():
            yield from _listed(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _listed(part)


def _as_offered(value: str) -> str:
    while True:
        normal = unicodedata.normalize("NFKC", value)
        kept = "".join(c for c in normal if unicodedata.category(c) not in _TAKEN_OUT)
        if kept == value:
            return value
        value = kept


class OwnValues:
    """Puts the client's values back in the calls of one answer after another. The inputs of tools
    that have such are held back until they are whole; all others pass as they come."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        changed = {tool.name: changed_values(tool.schema) for tool in tools}
        self._changed = {name: values for name, values in changed.items() if values}
        self._values: Mapping[str, str] = {}
        self._block: int | None = None
        self._pieces: list[str] = []

    def of(self, delta: Delta) -> Iterator[Delta]:
        """Calls by the client's names for its tools."""
        if isinstance(delta, ToolInput) and delta.block == self._block:
            self._pieces.append(delta.json)
            return
        if self._block is not None and self._pieces:
            yield ToolInput(self._block, _with("".join(self._pieces), self._values))
        self._block = None
        if isinstance(delta, ToolCall) and delta.name in self._changed:
            self._block, self._pieces = delta.block, []
            self._values = self._changed[delta.name]
        yield delta


def _with(text: str, values: Mapping[str, str]) -> str:
    """The JSON as the model wrote it, where there is nothing to put back or it was cut off."""
    try:
        given = json.loads(text)
    except ValueError:
        return text
    own = _own(given, values)
    return text if own == given else json.dumps(own, ensure_ascii=False)


def _own(value: Any, values: Mapping[str, str]) -> Any:
    match value:
        case str():
            return values.get(value, value)
        case list():
            return [_own(part, values) for part in value]
        case dict():
            return {name: _own(part, values) for name, part in value.items()}
    return value
