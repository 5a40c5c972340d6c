"""Whether the CLI holds an answer as the client got it: that is what it shows the model next.

It repairs the inputs of calls: `"7"` becomes 7 where the schema says integer (measured with
2.1.332), and some values are put back that it has changed itself. Nothing goes on from there;
brought in again, calls have the inputs that the client got.

A text that comes after a call it shows before the call. But so it does however the message was
brought in.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from claude_agent_sdk import AssistantMessage, ToolUseBlock

from sessionbridge.turn import Delta, ToolCall, ToolInput


class Replay:
    """Hears one answer with its calls from both sides."""

    def __init__(self) -> None:
        self._calls: dict[int, str] = {}
        self._given: defaultdict[int, list[str]] = defaultdict(list)
        self._held: dict[str, Any] = {}

    def given(self, delta: Delta) -> None:
        """As the client gets it."""
        match delta:
            case ToolCall(block=block, id=call):
                self._calls[block] = call
            case ToolInput(block=block, json=text):
                self._given[block].append(text)

    def held(self, message: AssistantMessage) -> None:
        """As the CLI holds it."""
        calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
        self._held |= {call.id: call.input for call in calls}

    @property
    def is_exact(self) -> bool:
        return all(_form(text) == self._form_held(call) for call, text in self._texts.items())

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What the client got, by the ids of the calls; but for what is no JSON."""
        texts = self._texts.items()
        return {call: json.loads(text) for call, text in texts if _form(text) is not None}

    @property
    def _texts(self) -> Mapping[str, str]:
        """A call without input has an empty one."""
        return {call: "".join(self._given[n]) or "{}" for n, call in self._calls.items()}

    def _form_held(self, call: str) -> str | None:
        return _form(json.dumps(self._held[call])) if call in self._held else None


def _form(text: str) -> str | None:
    """JSON in one way to write it, and None for what is none. Of numbers the CLI knows no more than
    a double can hold, wherever they come from."""
    try:
        return json.dumps(json.loads(text, parse_int=float), sort_keys=True)
    except (ValueError, RecursionError):
        return None
