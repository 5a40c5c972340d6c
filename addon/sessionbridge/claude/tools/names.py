"""What the client's tools are called inside of the CLI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sessionbridge.model import Block, Message, Tool

_KEPT = ("Artifact", "ToolSearch")
"""Names that mean the CLI's own tools: of the one it tells how to use it, wherever another is
called so, the other it lists and never offers (measured with 2.1.332)."""


def inside(messages: Iterable[Message], tools: Sequence[Tool]) -> tuple[Message, ...]:
    """Messages with the calls by the names that the model knows."""
    names = spelled([tool.name for tool in tools])
    if names.keys().isdisjoint(_KEPT):
        return tuple(messages)
    return tuple(
        replace(message, blocks=tuple(_renamed(block, names) for block in message.blocks))
        for message in messages
    )


def _renamed(block: Block, names: Mapping[str, str]) -> Block:
    if block["type"] != "tool_use":
        return block
    return {**block, "name": names.get(block["name"], block["name"])}


def spelled(names: Sequence[str]) -> dict[str, str]:
    """What each tool is called inside."""
    spelled = {name: name for name in names if name not in _KEPT}
    for name in _KEPT:
        if name in names:
            inside = f"{name}_"
            while inside in spelled.values():
                inside += "_"
            spelled[name] = inside
    return spelled
