"""Reads one answer out of what the CLI prints: messages of the SDK in, `Delta`s out.

The CLI passes on the API's own stream events. An answer can take several model calls, each a round
of `message_start … message_stop`; blocks and tokens are counted over all of them.

One request is answered by one message of the model. Where that calls the client's tools the rest of
the CLI's turn is the client's next request. Where it says something and ends by itself, so does the
turn. After every other end the CLI would go on by itself, with words of its own that stay in the
conversation: after a limit, a refusal, a pause, an answer of thoughts alone or of nothing (measured
with 2.1.332). There the answer ends at once.

Where the CLI compacts the conversation, the model calls it makes for that are not streamed
(measured with 2.1.332): nothing of the summary is in the answer and their tokens are not counted,
but the cost the CLI reports includes them.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Container, Sequence
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    RateLimitEvent,
    ResultMessage,
    StreamEvent,
    SystemMessage,
)
from claude_agent_sdk import Message as CliMessage

from sessionbridge.answer import Answer
from sessionbridge.claude.cli.answer_end import AnswerEnd
from sessionbridge.claude.cli.failures import from_result, still_waiting
from sessionbridge.claude.cli.limits import limit_headers
from sessionbridge.claude.prices import list_price
from sessionbridge.errors import ApiFailed, ClaudeFailed
from sessionbridge.model import (
    Block,
    Delta,
    Finished,
    RedactedThinking,
    Spent,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    Usage,
)

_HOUR = "ephemeral_1h_input_tokens"
"""What the API calls `cache_creation_1h_input_tokens`, in the object beside their sum."""

_SYNTHETIC = "<synthetic>"
"""The model of messages that the CLI writes itself; the API has never heard of them."""

_LEADS_ON = ("tool_use", "end_turn", "stop_sequence")
"""After these the CLI makes the calls that are in the message (measured with 2.1.332)."""

STRUCTURED = "StructuredOutput"
"""The CLI's own tool, which the model calls with an answer that has to fulfil a schema."""


class AnswerReader:
    """Stateful, one for each answer. `entries` are those of the messages fed and asked; `cost` is
    what the session has cost, in US dollars: before the answer, and after it; so much of it is
    `estimated`. `cut` says that the CLI has not ended its turn. `calls` are the client's tools that
    wait for their results, by id. Where the answer is `structured`, the JSON text is all there is
    of it, or the words of a model that gave none."""

    def __init__(
        self,
        session_id: str,
        entries: Sequence[str | None],
        cost: float,
        *,
        structured: bool,
        tools: Container[str] | None = None,
        estimated: float = 0.0,
        patience: float = math.inf,
    ) -> None:
        """It may call the `tools`. `patience` is how many seconds its beginning may take."""
        self._deadline = time.monotonic() + patience
        self.cost = cost
        self.estimated = estimated
        self.cut = False
        self.calls: dict[str, str] = {}
        self._session_id = session_id
        self._entries = entries
        self._structured = structured
        self._model = ""
        self._said_in_round = False
        self._end = AnswerEnd(structured=structured, tools=tools)
        self._ended: str | None = None
        self._said = Answer()
        """The last message of the model, as far as it has come."""
        self._stop_in_round: str | None = None
        self._blocks_before = 0
        self._blocks = 0
        self._exact = not structured
        self._hidden: set[int] = set()
        self._unsaid: dict[int, str] = {}
        """Text that was hidden, by the first block of its round."""
        self._unsaid_value = ""
        """The JSON text of a structured answer, as far as it has come."""
        self._usage = Usage()
        self._round_usage: dict[str, int] = {}
        self._usage_told: dict[str, Any] = {}
        """What else the API has told of the usage of this round."""
        self._stop_reason: str | None = None
        self._stop_details: dict[str, Any] | None = None
        self._answer_entry: str | None = None
        self._results_entry: str | None = None
        self._assistant_error: str | None = None
        self._retry_delay_ms: int | None = None
        self._limit: RateLimitEvent | None = None
        self._compacted = False
        self._unstreamed: str | None = None
        self._own_cost: float | None = None

    @property
    def spent(self) -> Spent | None:
        """None where no model call is known to have begun."""
        if not self._model:
            return None
        usage = self._usage + Usage(**self._round_usage)
        cost = self._own_cost
        cost = list_price(self._model, usage) if cost is None else cost
        return Spent(self._model, usage, cost, self._stop_reason)

    def read(self, message: CliMessage) -> list[Delta]:
        """Raises a `BridgeError` when the answer failed; after `Finished` nothing more comes."""
        match message:
            case StreamEvent(parent_tool_use_id=None, event=event):
                return self._event(event)
            case AssistantMessage(error=str(error)):
                self._assistant_error = error
            case AssistantMessage(model=model, parent_tool_use_id=None, uuid=str(entry)):
                if model != _SYNTHETIC:
                    self._answer_entry, self._unstreamed = entry, model
            case SystemMessage(subtype="api_retry", data={"retry_delay_ms": int(delay)} as told):
                self._retry_delay_ms = delay
                if not self._model and time.monotonic() + delay / 1000 > self._deadline:
                    raise still_waiting(told.get("error_status"), delay / 1000)
            case RateLimitEvent():
                self._limit = message
            case SystemMessage(subtype="compact_boundary"):
                self._compacted = True
            case ResultMessage():
                return self._result(message)
        return []

    def _event(self, event: dict[str, Any]) -> list[Delta]:
        if event.get("type") != "message_delta":
            self._end.hear(event)
        match event:
            case {"type": "message_start", "message": {"id": str(), "model": str()} as message}:
                return self._open_round(message)
            case {"type": "content_block_start", "index": int(index), "content_block": block}:
                self._blocks = max(self._blocks, self._blocks_before + index + 1)
                return self._told(self._block(self._blocks_before + index, block))
            case {"type": "content_block_delta", "index": int(index), "delta": delta}:
                return self._told(self._more(self._blocks_before + index, delta))
            case {"type": "message_delta", "delta": {"stop_reason": str(reason)} as end}:
                self._stop_reason = self._stop_in_round = reason
                self._stop_details = end.get("stop_details")
                self._count(event.get("usage"))
                if self._end.hear(event) is not None:
                    return self._cut_here(reason)
            case {"type": "message_stop"}:
                return self._close_round()
        return []

    def _told(self, deltas: list[Delta]) -> list[Delta]:
        for delta in deltas:
            self._said.hear(delta)
        return deltas

    def _open_round(self, message: dict[str, Any]) -> list[Delta]:
        if self._ended is not None and not self._structured:
            return [self._finish_early(self._ended)]  # the CLI asks again all the same
        self._close_round()
        self._blocks_before = self._blocks
        self._said = Answer()
        self._unsaid_value = ""
        self._usage_told = {}
        self._count(message.get("usage"))
        if self._model:
            return []
        self._model = message["model"]
        counts = Usage(**self._round_usage)
        return [Started(message["id"], self._model, counts, {**self._usage_told})]

    def _block(self, index: int, block: dict[str, Any]) -> list[Delta]:
        match block:
            case {"type": "tool_use", "name": name} if name == STRUCTURED and self._structured:
                self._hidden.add(index)
            case {"type": "tool_use", "id": str(call), "name": str(name)}:
                self._said_in_round = True
                self.calls[call] = name
                return [ToolCall(index, call, name)]
            case {"type": "redacted_thinking", "data": str(data)}:
                return [RedactedThinking(index, data)]
            case {"type": "text"} if self._structured:
                self._hidden.add(index)
            case {"type": kind} if kind not in ("text", "thinking"):
                # Of a tool at Anthropic, which the client does not have.
                self._hidden.add(index)
                self._exact = False
        return []

    def _more(self, index: int, delta: dict[str, Any]) -> list[Delta]:
        if index in self._hidden:
            self._keep_unsaid(delta)
            return []
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                self._said_in_round |= text != ""
                return [TextDelta(index, text)]
            case {"type": "input_json_delta", "partial_json": str(text)}:
                return [ToolInput(index, text)] if text else []
            case {"type": "thinking_delta", "thinking": str(text)}:
                return [ThinkingDelta(index, text)]
            case {"type": "signature_delta", "signature": str(signature)}:
                return [ThinkingSignature(index, signature)]
        return []

    def _keep_unsaid(self, delta: dict[str, Any]) -> None:
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                before = self._unsaid.get(self._blocks_before, "")
                self._unsaid[self._blocks_before] = before + text
            case {"type": "input_json_delta", "partial_json": str(text)} if self._structured:
                self._unsaid_value += text

    def _close_round(self) -> list[Delta]:
        broken = self._said_in_round and self._stop_in_round is None
        if broken and self._assistant_error is None:
            # Where a stream breaks the CLI closes the round itself and tries again, but what was
            # said cannot be taken back (measured with 2.1.332). Where it gives up it has said so
            # before, and its result tells the status of an error that came in the stream.
            raise ApiFailed(
                502, "The API's stream broke off in the middle of the answer; try again."
            )
        self._usage += Usage(**self._round_usage)
        self._round_usage = {}
        stopped, self._stop_in_round = self._stop_in_round, None
        self._said_in_round = False
        if stopped in _LEADS_ON and self.calls:
            return [self._finish_early("tool_use")]
        self._ended = None if stopped == "tool_use" else stopped
        return []

    def _count(self, usage: Any) -> None:
        """Later counts of one round replace earlier ones, as the API defines them, and a null tells
        nothing. Of the prompt a count of none takes nothing back: there are servers that fill in
        what they leave out."""
        usage = usage or {}
        for name, told in _counts(usage).items():
            new = told or name == "output_tokens" or name not in self._round_usage
            if isinstance(told, int) and new:
                self._round_usage[name] = told
        more = usage.keys() - Usage.__dataclass_fields__.keys()
        self._usage_told |= {name: usage[name] for name in more if usage[name] is not None}

    def results_taken(self, entry: str | None) -> None:
        """The CLI has the result of a call, as this entry of its transcript."""
        self._results_entry = entry or self._results_entry

    @property
    def said(self) -> dict[int, Block]:
        """What the model said in its last message, but for calls, by the number of each block."""
        blocks = self._said.blocks(lambda call: call.written)
        return {index: block for index, block in blocks.items() if block["type"] != "tool_use"}

    def _cut_here(self, reason: str) -> list[Delta]:
        if not self._end.spoke:
            self._answer_entry = None  # what says nothing is no place to go on from
        self._usage += Usage(**self._round_usage)
        self._round_usage = {}
        value = self._unsaid_value
        words = [TextDelta(self._blocks, value)] if value else self._words()
        return [*words, self._finish_early(reason)]

    def _words(self) -> list[Delta]:
        """Of a model that has given no value, where one was to be had: its last ones stand."""
        words = [text for text in self._unsaid.values() if text.strip()]
        return [TextDelta(self._blocks, words[-1])] if words else []

    def _finish_early(self, stop_reason: str) -> Finished:
        """The CLI tells what a turn cost when it is over: until then list prices have to do."""
        self.cut = True
        cost = list_price(self._model, self._usage)
        self.cost += cost or 0.0
        self.estimated += cost or 0.0
        return self._finished(self._session_id, stop_reason, cost)

    def _result(self, result: ResultMessage) -> list[Delta]:
        if result.is_error:
            raise from_result(result, self._assistant_error, self._retry_delay_ms, self._limit)
        self._close_round()
        if not self._model and self._answer_entry is not None:
            # Whatever it is told, the CLI does without a stream where the API has none (measured
            # with 2.1.332).
            self._model = self._unstreamed or ""
            self._count(result.usage)
            raise ClaudeFailed("The model's answer could not be had as a stream; try again.")
        if not self._model:
            raise ClaudeFailed("The Claude CLI ended the turn without asking the model; try again.")
        if self._answer_entry is None:
            raise ClaudeFailed("The model ended its turn without an answer; try again.")
        cost = self._settled(result.total_cost_usd)
        stop_reason = self._stop_reason or result.stop_reason or "end_turn"
        if self._structured and stop_reason == "tool_use":
            text = json.dumps(result.structured_output, ensure_ascii=False)
            end = self._finished(result.session_id, "end_turn", cost)
            return [TextDelta(self._blocks, text), end]
        # The CLI has asked for a value once more, in vain (measured with 2.1.332).
        return [*self._words(), self._finished(result.session_id, stop_reason, cost)]

    def _settled(self, total: float | None) -> float | None:
        """This turn's own cost. Less than nothing where more was estimated for the turns before it
        that waited for tools: in sum they cost what the CLI says."""
        if total is None:
            return None
        cost = max(-self.estimated, total - self.cost)
        self.cost, self.estimated = total, 0.0
        return cost

    def _finished(self, session_id: str, stop_reason: str, cost: float | None) -> Finished:
        self._own_cost = cost
        return Finished(
            session_id=session_id,
            entries=(*self._entries, self._answer_entry),
            results_entry=self._results_entry,
            stop_reason=stop_reason,
            usage=self._usage,
            cost_usd=cost,
            compacted=self._compacted,
            exact=self._exact,
            told={**self._usage_told},
            stop_details=self._stop_details if stop_reason == self._stop_reason else None,
            limits=limit_headers(self._limit) if self._limit else (),
        )


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    """What the API's counts are for the fields of `Usage`."""
    split = usage.get("cache_creation")
    hour = split.get(_HOUR) if isinstance(split, dict) else None
    names = Usage.__dataclass_fields__
    return {name: usage.get(name) for name in names} | {"cache_creation_1h_input_tokens": hour}
