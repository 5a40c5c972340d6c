"""Where an answer of the model ends, and whether the CLI would leave it at that.

After a limit, a full window, thoughts alone or nothing at all, a call that it does not know or one
that is missing the CLI asks again by itself, with words of its own that stay in the conversation
(measured with 2.1.332). It does so within milliseconds, so it has to be ended as soon as the reason
to stop is told.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

_ASKS_AGAIN = ("max_tokens", "model_context_window_exceeded", "tool_use")
_BY_ITSELF = ("end_turn", "stop_sequence")
"""After these the CLI ends its turn too, where something was said."""


class AnswerEnd:
    """Hears the API's events of one answer, which may call the `tools`, or any where these are not
    given. One that is `structured` is said by a call of a tool of the CLI's own, which may ask for
    it again."""

    def __init__(self, *, structured: bool, tools: Container[str] | None = None) -> None:
        self._structured = structured
        self._tools = tools
        self._calls = self._all_known = False
        self.spoke = False
        """Whether the message says something that can be seen."""
        self.asks_again = False
        """Whether the CLI goes on by itself after the end that was heard."""

    def hear(self, event: Mapping[str, Any]) -> str | None:
        """The reason to stop, where the turn ends with this message of the model."""
        match event:
            case {"type": "message_start"}:
                self.spoke, self._calls, self._all_known = False, False, True
            case {
                "type": "content_block_start",
                "content_block": {"type": "tool_use", "name": str(name)},
            }:
                self._calls = True
                known = self._structured or self._tools is None or name in self._tools
                self._all_known = self._all_known and known
            case {
                "type": "content_block_delta",
                "delta": {"type": "text_delta", "text": str(text)},
            }:
                self.spoke = self.spoke or bool(text.strip())
            case {"type": "message_delta", "delta": {"stop_reason": str(reason)}}:
                return self._ended(reason)
        return None

    def _ended(self, reason: str) -> str | None:
        by_itself = reason in _BY_ITSELF
        if self._calls and self._all_known and (by_itself or reason == "tool_use"):
            return None
        if not self._calls and by_itself and (self.spoke or self._structured):
            return None
        self.asks_again = self._structured or self._calls or by_itself or reason in _ASKS_AGAIN
        return reason
