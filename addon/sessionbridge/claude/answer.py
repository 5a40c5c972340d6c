"""Reads one answer out of what the CLI prints: messages of the SDK in, `Delta`s out.

The CLI passes on the API's own stream events. An answer can take several model calls, each a round
of `message_start … message_stop`; blocks and tokens are counted over all of them.
"""

from __future__ import annotations

from typing import Any

from claude_agent_sdk import AssistantMessage, ResultMessage, StreamEvent, SystemMessage
from claude_agent_sdk import Message as CliMessage

from sessionbridge.claude.failures import from_result
from sessionbridge.errors import ApiFailed, ClaudeFailed
from sessionbridge.turn import Delta, Finished, Started, TextDelta, Usage


class AnswerReader:
    """Stateful, one for each answer. `entries` are those of the messages fed and asked;
    `cost_before` is what the session had cost before, in US dollars."""

    def __init__(self, entries: list[str], cost_before: float) -> None:
        self._entries = entries
        self._cost_before = cost_before
        self._started = False
        self._round_open = False
        self._said_in_round = False
        self._blocks_before = 0
        self._blocks = 0
        self._usage = Usage()
        self._round_usage: dict[str, int] = {}
        self._stop_reason = "end_turn"
        self._answer_entry: str | None = None
        self._assistant_error: str | None = None
        self._retry_delay_ms: int | None = None

    def read(self, message: CliMessage) -> list[Delta]:
        """Raises a `BridgeError` when the answer failed; after `Finished` nothing more comes."""
        match message:
            case StreamEvent(parent_tool_use_id=None, event=event):
                return self._event(event)
            case AssistantMessage(parent_tool_use_id=None, error=None, uuid=str(entry)):
                self._answer_entry = entry
            case AssistantMessage(error=str(error)):
                self._assistant_error = error
            case SystemMessage(subtype="api_retry", data=data):
                self._retry_delay_ms = data.get("retry_delay_ms")
            case ResultMessage():
                return [self._finish(message)]
        return []

    def _event(self, event: dict[str, Any]) -> list[Delta]:
        match event["type"]:
            case "message_start":
                return self._open_round(event["message"])
            case "content_block_start":
                self._blocks = max(self._blocks, self._blocks_before + event["index"] + 1)
            case "content_block_delta" if event["delta"]["type"] == "text_delta":
                self._said_in_round = True
                block = self._blocks_before + event["index"]
                return [TextDelta(block, event["delta"]["text"])]
            case "message_delta":
                self._stop_reason = event["delta"].get("stop_reason") or self._stop_reason
                self._count(event.get("usage") or {})
            case "message_stop":
                self._round_open = False
                self._usage += Usage(**self._round_usage)
                self._round_usage = {}
        return []

    def _open_round(self, message: dict[str, Any]) -> list[Delta]:
        if self._round_open and self._said_in_round:
            # The CLI tries again after a broken stream, but what was said cannot be taken back.
            raise ApiFailed(502, "The API's stream broke off in the middle of the answer.")
        self._round_open, self._said_in_round = True, False
        self._blocks_before = self._blocks
        self._round_usage = {}
        self._count(message.get("usage") or {})
        if self._started:
            return []
        self._started = True
        usage = Usage(**self._round_usage)
        return [Started(message["id"], message["model"], usage)]

    def _count(self, usage: dict[str, Any]) -> None:
        """Later counts of one round replace earlier ones, as the API defines them."""
        for name in Usage.__dataclass_fields__:
            if isinstance(count := usage.get(name), int):
                self._round_usage[name] = count

    def _finish(self, result: ResultMessage) -> Finished:
        if result.is_error:
            raise from_result(result, self._assistant_error, self._retry_delay_ms)
        if not self._started or self._answer_entry is None:
            raise ClaudeFailed("The Claude CLI ended the turn without asking the model; try again.")
        total = result.total_cost_usd
        return Finished(
            internal_id=result.session_id,
            entries=(*self._entries, self._answer_entry),
            stop_reason=self._stop_reason,
            usage=self._usage,
            cost_usd=None if total is None else max(0.0, total - self._cost_before),
        )
