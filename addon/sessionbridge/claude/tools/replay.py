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
from typing import Any

from claude_agent_sdk import AssistantMessage, ToolUseBlock

from sessionbridge.answer import Answer, Call
from sessionbridge.model import Block, Delta


class Replay:
    """Hears one answer from both sides."""

    def __init__(self) -> None:
        self._given = Answer()
        self._held: dict[str, Any] = {}

    def given(self, delta: Delta) -> None:
        """As the client gets it."""
        self._given.hear(delta)

    def held(self, message: AssistantMessage) -> None:
        """As the CLI holds it."""
        calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
        self._held |= {call.id: call.input for call in calls}

    @property
    def has_true_calls(self) -> bool:
        """Whether the CLI has the calls as the client has them."""
        return all(map(self._is_held, self._given.calls))

    @property
    def texts(self) -> dict[int, Block]:
        """What the client got to read, by the number of each block."""
        return self._of("text")

    @property
    def calls(self) -> dict[int, Block]:
        """With their inputs as the client got them."""
        return self._of("tool_use")

    def _of(self, kind: str) -> dict[int, Block]:
        blocks = self._given.blocks(_input)
        return {index: block for index, block in blocks.items() if block["type"] == kind}

    def _is_held(self, call: Call) -> bool:
        given, held = _form(call.written or "{}"), self._held.get(call.id)
        return given is not None and given == _form(json.dumps(held))


def _input(call: Call) -> dict[str, Any]:
    """What is no object is kept as the text it is; a call without input has an empty one."""
    written = call.written or "{}"
    return {"arguments": written} if _form(written) is None else json.loads(written)


def _form(text: str) -> str | None:
    """An object in one way to write it, and None for what is none. Of numbers the CLI knows no more
    than a double can hold, wherever they come from."""
    try:
        value = json.loads(text, parse_int=float)
        form = json.dumps(value, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return form if isinstance(value, dict) else None
