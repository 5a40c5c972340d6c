"""Every answer that the Messages API can give, by the newest official package, as rows of a table.

`tests.end_to_end.test_every_answer` takes each through real parts, and fails where the package
knows a reason to stop, a block or a field of the usage that is in none of the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Block = dict[str, Any]

USAGE: dict[str, Any] = {
    "input_tokens": 11,
    "output_tokens": 1,
    "cache_creation_input_tokens": 23,
    "cache_read_input_tokens": 31,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 20},
    "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
    "output_tokens_details": {"thinking_tokens": 0},
    "service_tier": "priority",
    "inference_geo": "eu",
    "speed": "standard",
}
"""As the first event of each answer tells it."""
USAGE_LAST: dict[str, Any] = {
    "input_tokens": 11,
    "output_tokens": 47,
    "cache_creation_input_tokens": 23,
    "cache_read_input_tokens": 31,
    "server_tool_use": {"web_search_requests": 5, "web_fetch_requests": 3},
    "output_tokens_details": {"thinking_tokens": 13},
}
TOLD = USAGE | USAGE_LAST
SEARCHES = TOLD["server_tool_use"]["web_search_requests"]

THOUGHTS = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class Row:
    """An answer as the API gives it. `cut` is what the official client reads of an input that was
    cut off; `sequence` is a stop sequence of the client's, and `shown` the text before it. Where
    the CLI `ends` its turn by itself it tells what that cost."""

    stop_reason: str
    content: tuple[Block, ...] = ()
    stop_details: dict[str, Any] | None = None
    cut: dict[str, Any] | None = None
    sequence: str | None = None
    shown: str = ""
    ends: bool = False

    @property
    def status(self) -> str:
        return "stop_sequence" if self.sequence else self.stop_reason

    @property
    def speech(self) -> list[str]:
        return [block["text"] for block in self.content if block["type"] == "text"]

    @property
    def thinks(self) -> bool:
        return any(block["type"] in THOUGHTS for block in self.content)

    def command(self, turn: int) -> str:
        """Has the scripted API give this answer in a turn."""
        answer = {
            "content": [*self.content_in(turn)],
            "stop_reason": self.stop_reason,
            "stop_details": self.stop_details,
            "told": USAGE,
            "told_last": USAGE_LAST,
        }
        return f"[answer {json.dumps(answer)}]"

    def content_in(self, turn: int) -> Iterator[Block]:
        """A model gives no id twice."""
        for block in self.content:
            yield {**block, "id": f"{block['id']}-{turn}"} if block["type"] == "tool_use" else block

    def told_in(self, turn: int) -> Iterator[Block]:
        """What a client of Messages gets: all but blocks without a text, and those of tools at
        Anthropic, which no request that comes through the bridge has."""
        if self.shown:
            yield text(self.shown)
            return
        for block in self.content_in(turn):
            if block["type"] == "text" and block["text"]:
                yield text(block["text"])
            elif block["type"] in THOUGHTS:
                yield block
            elif block["type"] == "tool_use":
                yield {**block, "input": self.cut or json.loads(block["input"])}

    def calls_in(self, turn: int) -> list[Block]:
        """With their input as the model wrote it."""
        return [block for block in self.content_in(turn) if block["type"] == "tool_use"]


END = '[answer {"content": [{"type": "text", "text": "The end."}]}]'


def text(words: str, **more: Any) -> Block:
    return {"type": "text", "text": words, **more}


def call(id_: str, name: str, written: str) -> Block:
    return {"type": "tool_use", "id": id_, "name": name, "input": written}


def used(kind: str, content: Any) -> tuple[Block, Block]:
    """A call of a tool at Anthropic, and its result."""
    id_ = f"srvtoolu_{kind}"
    made = {"type": "server_tool_use", "id": id_, "name": kind, "input": {"query": "é"}}
    return made, {"type": f"{kind}_tool_result", "tool_use_id": id_, "content": content}


def refused(category: str) -> dict[str, Any]:
    return {"type": "refusal", "category": category, "explanation": "No harm, please (é𝄞)."}


THOUGHT = {"type": "thinking", "thinking": "Hm: é𝄞?", "signature": "c2lnbmVk"}
HIDDEN = {"type": "redacted_thinking", "data": "aGlkZGVu"}
SAID = text("So far é𝄞,  two\nlines.")
LOOK = call("toolu_look", "look", '{"at":  "Zoë 𝄞"}')
ADD = call("toolu_add", "add", '{"a": 1.5, "b": 2}')
RAN = {"stdout": "1", "stderr": "", "return_code": 0, "content": []}
CITATION = {
    "type": "char_location",
    "cited_text": "It is.",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 6,
}
SEARCH = used("web_search", [])
OTHERS = (
    *used("web_fetch", {"type": "web_fetch_tool_result_error", "error_code": "unavailable"}),
    *used("code_execution", {"type": "code_execution_result", **RAN}),
    *used("bash_code_execution", {"type": "bash_code_execution_result", **RAN}),
    *used(
        "text_editor_code_execution",
        {"type": "text_editor_code_execution_create_result", "is_file_update": False},
    ),
    *used("tool_search", {"type": "tool_search_tool_search_result", "tool_references": []}),
    {"type": "container_upload", "file_id": "file_1"},
)
AT_ANTHROPIC = {block["type"] for block in (*SEARCH, *OTHERS)}

ROWS: dict[str, Row] = {
    "a text": Row("end_turn", (SAID,), ends=True),
    "two texts": Row("end_turn", (SAID, text(" And more.")), ends=True),
    "nothing": Row("end_turn"),
    "an empty text": Row("end_turn", (text(""),)),
    "thoughts alone": Row("end_turn", (THOUGHT, HIDDEN)),
    "thoughts and a text": Row("end_turn", (THOUGHT, HIDDEN, SAID), ends=True),
    "a cited text": Row("end_turn", (text("So it is.", citations=[CITATION]),), ends=True),
    "a limit in a text": Row("max_tokens", (SAID,)),
    "a limit in thoughts": Row("max_tokens", (THOUGHT,)),
    "a limit in a call": Row(
        "max_tokens",
        (SAID, call("toolu_cut", "look", '{"at": "Zoë", "for": "Ad')),
        cut={"at": "Zoë"},
    ),
    "calls": Row("tool_use", (SAID, LOOK, ADD)),
    "a call alone": Row("tool_use", (LOOK,)),
    "a call after thoughts": Row("tool_use", (THOUGHT, LOOK)),
    "texts between calls": Row(
        "tool_use", (SAID, LOOK, text(" Between."), ADD, text(" And after."))
    ),
    "an input of another type": Row(
        "tool_use", (call("toolu_odd", "add", '{"a": "7", "b": true}'),)
    ),
    "large and small numbers": Row(
        "tool_use", (call("toolu_odd", "add", '{"a": 12345678901234567890, "b": 1.5e-7}'),)
    ),
    "an input without a field": Row("tool_use", (call("toolu_odd", "add", '{"b": 2}'),)),
    "an input with more": Row(
        "tool_use", (call("toolu_odd", "look", '{"at": "", "more": {"of": [null, "é"]}}'),)
    ),
    "a stop sequence of the API": Row("stop_sequence", (SAID,), ends=True),
    "a stop sequence of the client": Row(
        "end_turn", (text("before STOP after"),), sequence="STOP", shown="before ", ends=True
    ),
    "a refusal with a text": Row("refusal", (SAID,), refused("cyber")),
    "a refusal without": Row("refusal", (), refused("bio")),
    "a refusal without details": Row("refusal", (SAID,)),
    "a pause": Row("pause_turn", (SAID, SEARCH[0])),
    "a full window": Row("model_context_window_exceeded", (SAID,)),
    "a full window at once": Row("model_context_window_exceeded"),
    "tools at Anthropic": Row("end_turn", (*SEARCH, *OTHERS, SAID), ends=True),
}
