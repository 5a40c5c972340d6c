"""Where an answer of the model ends, and whether the CLI would leave it at that.

After a limit, a full window, thoughts alone or nothing at all the CLI asks again by itself, with
words of its own that stay in the conversation (measured with 2.1.332). It does so within
milliseconds, so it has to be ended as soon as the reason to stop is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ASKS_AGAIN = ("max_tokens", "model_context_window_exceeded")
_BY_ITSELF = ("end_turn", "stop_sequence")
"""After these the CLI ends its turn too, where something was said."""


class AnswerEnd:
    """Hears the API's events of one answer. One that is `structured` is said by a call of a tool of
    the CLI's own, which may ask for it again."""

    def __init__(self, *, structured: bool) -> None:
        self._structured = structured
        self.spoke = False
        """Whether the message says something that can be seen."""
        self.asks_again = False
        """Whether the CLI goes on by itself after the end that was heard."""

    def hear(self, event: Mapping[str, Any]) -> str | None:
        """The reason to stop, where the turn ends with this message of the model."""
        match event:
            case {"type": "message_start"}:
                self.spoke = False
            case {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": str(text)},
            }:
                self.spoke = self.spoke or bool(text.strip())
            case {"type": "message_delta", "delta": {"stop_reason": str(reason)}}:
                return self._ended(reason)
        return None

    def _ended(self, reason: str) -> str | None:
        if reason == "tool_use" or (reason in _BY_ITSELF and (self.spoke or self._structured)):
            return None
        self.asks_again = reason in (*_ASKS_AGAIN, *_BY_ITSELF)
        return reason
