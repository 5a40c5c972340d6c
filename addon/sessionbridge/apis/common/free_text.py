"""Tools that take text instead of JSON: `custom` tools of both OpenAI APIs.

The model is offered one with a text as its only input, and a grammar is told in words, because
nothing here can hold a model to it.
"""

from __future__ import annotations

import json
from typing import Any

from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.model import TurnRequest

FIELD = "input"
SCHEMA = {"type": "object", "properties": {FIELD: {"type": "string"}}, "required": [FIELD]}


def described(description: str | None, syntax: str, definition: str) -> str:
    """The description of a tool whose input follows a grammar; one without has no `definition`."""
    rule = f"The input must follow this {syntax} grammar:\n{definition}" if definition else ""
    return "\n\n".join(filter(None, [description, rule]))


def given(text: str) -> dict[str, Any]:
    """The input of a call that was made with this text."""
    return {FIELD: text}


def call_input(turn: TurnRequest, name: str, arguments: str) -> dict[str, Any]:
    """What the model has written as the input of a tool, as it is told to the client and read
    back."""
    if any(tool.name == name and tool.takes_text for tool in turn.parameters.tools):
        return given(written(arguments))
    return read_arguments(arguments)


def written(arguments: str) -> str:
    """The text in the JSON that the model wrote, or all of that where it is not what was asked."""
    try:
        text = json.loads(arguments)[FIELD]
    except (ValueError, TypeError, KeyError, RecursionError):
        return arguments
    return text if isinstance(text, str) else arguments
