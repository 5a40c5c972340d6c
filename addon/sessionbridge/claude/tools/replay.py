"""Whether the CLI holds an answer as the client got it: that is what it shows the model next.

It repairs the inputs of calls: `"7"` becomes 7 where the schema says integer (measured with
2.1.332), and some values are put back that it has changed itself. A stop sequence of the client's
cuts what the model said, a value that fulfils a schema is to the CLI a call of its own tool, and
what tools at Anthropic were asked no client is told.

A text that comes after a call it shows before the call. But so it does however the message was
brought in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from claude_agent_sdk import AssistantMessage, ToolUseBlock

from sessionbridge.model import Block, Delta, TextDelta, ToolCall, ToolInput


class Replay:
    """Hears one answer from both sides."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}
        self._inputs: defaultdict[int, list[str]] = defaultdict(list)
        self._texts: defaultdict[int, list[str]] = defaultdict(list)
        self._held: dict[str, Any] = {}

    def given(self, delta: Delta) -> None:
        """As the client gets it."""
        match delta:
            case ToolCall(block=place):
                self._calls[place] = delta
            case ToolInput(block=place, json=text):
                self._inputs[place].append(text)
            case TextDelta(block=place, text=text) if text:
                self._texts[place].append(text)

    def held(self, message: AssistantMessage) -> None:
        """As the CLI holds it."""
        calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
        self._held |= {call.id: call.input for call in calls}

    @property
    def has_true_calls(self) -> bool:
        """Whether the CLI has the calls as the client has them."""
        return all(self._is_held(place) for place in self._calls)

    @property
    def texts(self) -> dict[int, Block]:
        """What the client got to read, by the place of each block."""
        told = {place: "".join(pieces) for place, pieces in self._texts.items()}
        return {place: {"type": "text", "text": text} for place, text in told.items()}

    @property
    def calls(self) -> dict[int, Block]:
        """With their inputs as the client got them."""
        return {
            place: {"type": "tool_use", "id": call.id, "name": call.name} | self._input(place)
            for place, call in self._calls.items()
        }

    def _input(self, place: int) -> dict[str, Any]:
        """What is no object is kept as the text it is."""
        text = self._text(place)
        return {"input": {"arguments": text} if _form(text) is None else json.loads(text)}

    def _is_held(self, place: int) -> bool:
        given, held = _form(self._text(place)), self._held.get(self._calls[place].id)
        return given is not None and given == _form(json.dumps(held))

    def _text(self, place: int) -> str:
        """A call without input has an empty one."""
        return "".join(self._inputs[place]) or "{}"


def _form(text: str) -> str | None:
    """An object in one way to write it, and None for what is none. Of numbers the CLI knows no more
    than a double can hold, wherever they come from."""
    try:
        value = json.loads(text, parse_int=float)
        form = json.dumps(value, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return form if isinstance(value, dict) else None
