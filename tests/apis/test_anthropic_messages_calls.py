"""Calls and thoughts in answers of the Messages API, read by the official client."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionbridge.model import (
    Finished,
    RedactedThinking,
    Said,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    TurnRequest,
    Usage,
)
from tests.apis.test_anthropic_messages_answer import SHAPE, STARTED, ask, encode, follow, split
from tests.apis.test_anthropic_messages_answer import text as text_block

ON = Thinking()
THOUGHT: list[Said] = [
    ThinkingDelta(0, "Two "),
    ThinkingDelta(0, ""),
    ThinkingDelta(0, "of them."),
    ThinkingSignature(0, "c2ln"),
    RedactedThinking(1, "aGlk"),
]
CALLS: list[Said] = [
    TextDelta(2, "So:"),
    ToolCall(3, "toolu_1", "double"),
    ToolInput(3, ""),
    ToolInput(3, '{"n": '),
    ToolInput(3, '1, "s": "ä\\ud83d\\ude42"}'),
    ToolCall(5, "toolu_2", "now"),
]
SHOWN_THOUGHT = [
    {"type": "thinking", "thinking": "Two of them.", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "aGlk"},
]
SHOWN_CALLS = [
    text_block("So:"),
    {"type": "tool_use", "id": "toolu_1", "name": "double", "input": {"n": 1, "s": "ä🙂"}},
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
]


def content(*said: Said, thinking: Thinking | None = ON) -> Any:
    sent = b"".join(encode(*said, stream=False, stop_reason="tool_use", thinking=thinking))
    anthropic.types.Message.model_validate_json(sent)
    return json.loads(sent)["content"]


def events(sent: list[bytes]) -> list[dict[str, Any]]:
    lines = b"".join(sent).decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_calls_and_thoughts_are_blocks_of_their_own() -> None:
    assert content(*THOUGHT, *CALLS) == SHOWN_THOUGHT + SHOWN_CALLS


def test_thoughts_are_shown_to_those_who_asked() -> None:
    assert content(*THOUGHT, *CALLS, thinking=None) == SHOWN_CALLS
    stream = SHAPE.encoder(TurnRequest("m", "", (), stream=True))
    assert b"".join(map(stream.delta, THOUGHT)) == b""


@pytest.mark.parametrize("said", [CALLS, [*THOUGHT, *CALLS], CALLS[1:2]], ids=str)
def test_the_stream_folded_by_the_official_client_is_the_document(said: list[Said]) -> None:
    document = ask(encode(*said, stream=False, stop_reason="tool_use", thinking=ON))
    sent = encode(*said, stream=True, stop_reason="tool_use", thinking=ON)
    for chunks in (sent, [b"".join(sent)], split(sent)):
        folded = follow(chunks)
        assert folded.to_dict(exclude_none=True) == document.to_dict(exclude_none=True)
        assert folded.stop_reason == "tool_use"


def test_the_events_of_a_call_are_those_of_the_reference() -> None:
    begun = {"type": "tool_use", "id": "toolu_1", "name": "double", "input": {}}
    sent = encode(ToolCall(4, "toolu_1", "double"), ToolInput(4, '{"n"'), stream=True)
    change = {"type": "input_json_delta", "partial_json": '{"n"'}
    assert events(sent)[1:3] == [
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {"type": "content_block_delta", "index": 0, "delta": change},
    ]
    assert events(sent)[4] == {"type": "content_block_stop", "index": 0}


def test_the_events_of_a_thought_are_those_of_the_reference() -> None:
    sent = encode(*THOUGHT, TextDelta(2, "So."), stream=True, thinking=ON)
    empty = {"type": "thinking", "thinking": "", "signature": ""}
    changes = [
        {"type": "thinking_delta", "thinking": "Two "},
        {"type": "thinking_delta", "thinking": "of them."},
        {"type": "signature_delta", "signature": "c2ln"},
    ]
    assert events(sent)[1:8] == [
        {"type": "content_block_start", "index": 0, "content_block": empty},
        *({"type": "content_block_delta", "index": 0, "delta": change} for change in changes),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": SHOWN_THOUGHT[1]},
        {"type": "content_block_stop", "index": 1},
    ]


def test_a_thought_that_is_not_to_be_read_still_has_its_signature() -> None:
    shown = content(ThinkingSignature(0, "c2ln"), TextDelta(1, "So."))
    assert shown[0] == {"type": "thinking", "thinking": "", "signature": "c2ln"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(deadline=None)  # it starts a client of its own each time
@given(
    given_input=st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    ascii_only=st.booleans(),
    data=st.data(),
)
def test_however_an_input_is_cut_it_is_what_the_official_client_reads(
    given_input: dict[str, Any], ascii_only: bool, data: st.DataObject
) -> None:
    written = json.dumps(given_input, ensure_ascii=ascii_only)
    end = data.draw(st.integers(1, len(written)), "end")
    cut = data.draw(st.integers(0, end), "cut")
    call: list[Said] = [
        ToolCall(0, "toolu_1", "f"),
        ToolInput(0, written[:cut]),
        ToolInput(0, written[cut:end]),
    ]
    (shown,) = content(*call)
    (folded,) = follow(encode(*call, stream=True)).content
    assert isinstance(folded, anthropic.types.ToolUseBlock)
    assert folded.input == shown["input"]
    if end == len(written):
        assert shown["input"] == given_input


def test_half_a_character_in_an_input_is_told_as_the_model_wrote_it() -> None:
    call: list[Said] = [ToolCall(0, "toolu_1", "f"), ToolInput(0, '{"s": "\\ud83d"}')]
    (shown,) = json.loads(b"".join(encode(*call, stream=False)))["content"]
    assert shown["input"] == {"s": "\ud83d"}


def test_the_stop_sequence_is_told() -> None:
    end = Finished("sid", (None,), "stop_sequence", Usage(), None, stop_sequence="END")
    document = SHAPE.encoder(TurnRequest("m", "", (), stream=False))
    document.delta(STARTED)
    told = json.loads(document.close(end))
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "END")


def test_a_stream_that_ends_within_a_call_has_no_stop_reason() -> None:
    sent = encode(*CALLS, stream=True)[:4]
    assert follow(sent).stop_reason is None
    with pytest.raises(httpx2.RemoteProtocolError):
        follow(sent, lost=True)
