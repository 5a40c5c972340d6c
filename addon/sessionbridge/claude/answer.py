"""Reads one answer out of what the CLI prints: messages of the SDK in, `Delta`s out.

The CLI passes on the API's own stream events. An answer can take several model calls, each a round
of `message_start … message_stop`; blocks and tokens are counted over all of them.

Where the CLI compacts the conversation, the model calls it makes for that are not streamed
(measured): nothing of the summary is in the answer and their tokens are not counted, but the cost
the CLI reports includes them.
"""

from __future__ import annotations

from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
)
from claude_agent_sdk import Message as CliMessage

from sessionbridge.claude.failures import from_result
from sessionbridge.errors import ApiFailed, ClaudeFailed
from sessionbridge.turn import Delta, Finished, Started, TextDelta, Usage

_SYNTHETIC = "<synthetic>"
"""The model of messages that the CLI writes itself; the API has never heard of them."""


class AnswerReader:
    """Stateful, one for each answer. `entries` are those of the messages fed and asked; `cost` is
    what the session has cost, in US dollars: before the answer, and after it."""

    def __init__(self, entries: list[str], cost: float) -> None:
        self.cost = cost
        self._entries = entries
        self._started = False
        self._message_ids: set[str] = set()
        self._said_in_round = False
        self._stop_in_round: str | None = None
        self._blocks_before = 0
        self._blocks = 0
        self._usage = Usage()
        self._round_usage: dict[str, int] = {}
        self._stop_reason: str | None = None
        self._answer_entry: str | None = None
        self._assistant_error: str | None = None
        self._retry_delay_ms: int | None = None
        self._compacted = False

    def read(self, message: CliMessage) -> list[Delta]:
        """Raises a `BridgeError` when the answer failed; after `Finished` nothing more comes."""
        match message:
            case StreamEvent(parent_tool_use_id=None, event=event):
                return self._event(event)
            case AssistantMessage(error=str(error)):
                self._assistant_error = error
            case AssistantMessage(model=model, parent_tool_use_id=None, uuid=str(entry)):
                if model != _SYNTHETIC:
                    self._answer_entry = entry
                    return self._unstreamed(message)
            case SystemMessage(subtype="api_retry", data={"retry_delay_ms": int(delay)}):
                self._retry_delay_ms = delay
            case SystemMessage(subtype="compact_boundary"):
                self._compacted = True
            case ResultMessage():
                return [self._finish(message)]
        return []

    def _event(self, event: dict[str, Any]) -> list[Delta]:
        match event:
            case {"type": "message_start", "message": {"id": str(), "model": str()} as message}:
                return self._open_round(message)
            case {"type": "content_block_start", "index": int(index)}:
                self._blocks = max(self._blocks, self._blocks_before + index + 1)
            case {
                "type": "content_block_delta",
                "index": int(index),
                "delta": {"type": "text_delta", "text": str(text)},
            }:
                self._said_in_round |= text != ""
                return [TextDelta(self._blocks_before + index, text)]
            case {"type": "message_delta", "delta": {"stop_reason": str(reason)}}:
                self._stop_reason = self._stop_in_round = reason
                self._count(event.get("usage"))
            case {"type": "message_stop"}:
                self._close_round()
        return []

    def _open_round(self, message: dict[str, Any]) -> list[Delta]:
        self._close_round()
        self._blocks_before = self._blocks
        self._message_ids.add(message["id"])
        self._count(message.get("usage"))
        if self._started:
            return []
        self._started = True
        usage = Usage(**self._round_usage)
        return [Started(message["id"], message["model"], usage)]

    def _close_round(self) -> None:
        if self._said_in_round and self._stop_in_round is None:
            # Where a stream breaks the CLI closes the round itself and tries again, but what was
            # said cannot be taken back (measured).
            raise ApiFailed(502, "The API's stream broke off in the middle of the answer.")
        self._usage += Usage(**self._round_usage)
        self._round_usage = {}
        self._said_in_round, self._stop_in_round = False, None

    def _unstreamed(self, message: AssistantMessage) -> list[Delta]:
        """The CLI asks again without streaming where a stream could not be had (measured)."""
        if message.message_id is None or message.message_id in self._message_ids:
            return []
        start = {"id": message.message_id, "model": message.model, "usage": message.usage}
        deltas = self._open_round(start)
        for block in message.content:
            if isinstance(block, TextBlock):
                deltas.append(TextDelta(self._blocks, block.text))
            self._blocks += 1
        self._close_round()
        return deltas

    def _count(self, usage: Any) -> None:
        """Later counts of one round replace earlier ones, as the API defines them."""
        for name in Usage.__dataclass_fields__:
            if isinstance(count := (usage or {}).get(name), int):
                self._round_usage[name] = count

    def _finish(self, result: ResultMessage) -> Finished:
        if result.is_error:
            raise from_result(result, self._assistant_error, self._retry_delay_ms)
        self._close_round()
        if not self._started:
            raise ClaudeFailed("The Claude CLI ended the turn without asking the model; try again.")
        if self._answer_entry is None:
            raise ClaudeFailed("The model ended its turn without an answer; try again.")
        total, before = result.total_cost_usd, self.cost
        self.cost = before if total is None else total
        return Finished(
            internal_id=result.session_id,
            entries=(*self._entries, self._answer_entry),
            stop_reason=self._stop_reason or result.stop_reason or "end_turn",
            usage=self._usage,
            cost_usd=None if total is None else max(0.0, total - before),
            compacted=self._compacted,
        )
