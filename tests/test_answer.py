"""The fold of an answer's deltas, and that a stream and its document tell the same answer."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.answer import Answer, Call
from sessionbridge.model import (
    Delta,
    RedactedThinking,
    Said,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    ToolUseBlock,
    WholeBlock,
)
from tests.apis.test_answers_as_told import STARTED, end, read_by_client

CALL = ToolCall(2, "toolu_1", "look")


def folded(*deltas: Delta | WholeBlock) -> list[dict[str, Any]]:
    answer = Answer()
    for delta in deltas:
        answer.hear(delta)
    return [dict(block) for block in answer.blocks(lambda call: call.written).values()]


@pytest.mark.parametrize(
    ("deltas", "blocks"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([TextDelta(0, "")], [], id="an empty piece"),
        pytest.param(
            [TextDelta(0, "a"), TextDelta(0, "b"), TextDelta(1, "c")],
            [{"type": "text", "text": "ab"}, {"type": "text", "text": "c"}],
            id="two texts",
        ),
        pytest.param(
            [ThinkingDelta(0, "a"), ThinkingSignature(0, "s")],
            [{"type": "thinking", "thinking": "a", "signature": "s"}],
            id="a signed thought",
        ),
        pytest.param(
            [ThinkingSignature(0, "s")],
            [{"type": "thinking", "thinking": "", "signature": "s"}],
            id="a thought that is not shown",
        ),
        pytest.param(
            [RedactedThinking(0, "d")], [{"type": "redacted_thinking", "data": "d"}], id="redacted"
        ),
        pytest.param(
            [CALL, ToolInput(2, "{"), ToolInput(2, "}"), TextDelta(0, "a")],
            [
                {"type": "text", "text": "a"},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": "{}"},
            ],
            id="by their places",
        ),
        pytest.param(
            [ToolInput(2, "{}"), replace(CALL, id=""), CALL],
            [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": "{}"}],
            id="a call whose id comes last",
        ),
        pytest.param([ToolInput(2, "{}")], [], id="an input without a call"),
        pytest.param(
            [WholeBlock(0, {"type": "text", "text": "a"}), TextDelta(0, "b")],
            [{"type": "text", "text": "ab"}],
            id="a block that grows",
        ),
        pytest.param(
            [TextDelta(0, "b"), WholeBlock(0, {"type": "text", "text": "a"})],
            [{"type": "text", "text": "a"}],
            id="a block that takes the place of its pieces",
        ),
    ],
)
def test_what_deltas_add_up_to(
    deltas: list[Delta | WholeBlock], blocks: list[dict[str, Any]]
) -> None:
    assert folded(*deltas) == blocks


def test_a_whole_call_keeps_its_input_unless_more_of_it_comes() -> None:
    whole: ToolUseBlock = {"type": "tool_use", "id": "1", "name": "look", "input": {"a": 1}}
    assert folded(WholeBlock(0, whole)) == [whole]
    assert folded(WholeBlock(0, whole), ToolInput(0, "{}")) == [whole | {"input": "{}"}]


def test_its_words_thoughts_and_calls() -> None:
    answer = Answer()
    said: list[Said] = [ThinkingDelta(0, "h"), TextDelta(1, "a"), CALL, TextDelta(3, "b")]
    for delta in said:
        answer.hear(delta)
    assert (answer.text, answer.thoughts) == ("ab", "h")
    assert answer.calls == (Call(2, "toolu_1", "look", ""),)
    assert [answer.written(place) for place in range(5)] == ["h", "a", "", "b", ""]


# --- a stream and its document ------------------------------------------------------------------

PIECES = st.lists(st.text(max_size=4), min_size=1, max_size=3)
INPUTS = st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2).map(json.dumps)
KINDS = st.sampled_from(["text", "thinking", "redacted", "call"])


@st.composite
def answers(draw: st.DrawFn) -> list[Said]:
    deltas: list[Said] = []
    for place, kind in zip(count(), draw(st.lists(KINDS, max_size=4))):
        match kind:
            case "text":
                deltas += [TextDelta(place, piece) for piece in draw(PIECES)]
            case "thinking":
                deltas += [ThinkingDelta(place, piece) for piece in draw(PIECES)]
                deltas.append(ThinkingSignature(place, "sig"))
            case "redacted":
                deltas.append(RedactedThinking(place, "data"))
            case "call":
                written = draw(INPUTS)
                cut = draw(st.integers(0, len(written)))
                deltas.append(ToolCall(place, f"toolu_{place}", "look"))
                deltas += [ToolInput(place, piece) for piece in (written[:cut], written[cut:])]
    return deltas


WHY = "This is not to be said."


@pytest.mark.parametrize("api", ["messages", "chat", "responses"])
@given(
    deltas=answers(),
    thinking=st.sampled_from([None, Thinking(), Thinking(display="omitted")]),
    refuses=st.booleans(),
)
def test_a_stream_and_its_document_tell_the_same_answer(
    api: str, deltas: list[Said], thinking: Thinking | None, refuses: bool
) -> None:
    """Both as the official client reads them."""
    calls = any(isinstance(delta, ToolCall) for delta in deltas)
    last = end("tool_use" if calls else "end_turn")
    if refuses:
        last = end("refusal", stop_details={"type": "refusal", "explanation": WHY})
    one, other = (
        read_by_client(api, deltas, last, stream=stream, thinking=thinking)
        for stream in (True, False)
    )
    told = without(one.model_dump())
    assert told == without(other.model_dump())
    assert STARTED.message_id.removeprefix("msg_") in told["id"]
    if refuses:
        assert json.dumps(told).count(WHY) == 1


def without(value: Any) -> Any:
    """What was told, without when, and without what the client's stream alone adds by itself."""
    if isinstance(value, list):
        return [without(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    added = {"created", "created_at", "completed_at", "parsed", "parsed_arguments", "index"}
    told = {name: without(inner) for name, inner in value.items() if name not in added}
    return {name: inner for name, inner in told.items() if inner not in (None, [], "")}
