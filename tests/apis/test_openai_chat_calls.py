"""Calls in answers of Chat Completions, read by the official client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from sessionbridge.errors import AnswerUnfit
from sessionbridge.model import (
    RedactedThinking,
    Said,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    TurnRequest,
)
from tests.apis.test_openai_chat_answer import ASKED, SHAPE, ask, chunks_of, encode, follow

OLDER = SHAPE.parse(
    json.dumps(
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "functions": [{"name": "double"}],
        }
    ).encode()
)
CALL: list[Said] = [
    ToolCall(3, "toolu_1", "double"),
    ToolInput(3, ""),
    ToolInput(3, '{"n": '),
    ToolInput(3, '1, "s": "ä"}'),
]
CALLS: list[Said] = [TextDelta(0, "So:"), *CALL, ToolCall(5, "toolu_2", "now")]
BARE: list[Said] = [ToolCall(0, "toolu_2", "now")]
THOUGHT: list[Said] = [
    ThinkingDelta(0, "Zanzibar"),
    ThinkingSignature(0, "Zanzibar"),
    RedactedThinking(1, "Zanzibar"),
]
SHOWN: list[dict[str, Any]] = [
    {
        "id": "toolu_1",
        "type": "function",
        "function": {"name": "double", "arguments": '{"n": 1, "s": "ä"}'},
    },
    {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
]


def choice(*said: Said, asked: TurnRequest = ASKED) -> Any:
    sent = b"".join(encode(*said, stream=False, stop_reason="tool_use", asked=asked))
    ChatCompletion.model_validate_json(sent)
    (found,) = json.loads(sent)["choices"]
    return found


def deltas(*said: Said, asked: TurnRequest = ASKED) -> list[tuple[dict[str, Any], str | None]]:
    chunks = chunks_of(encode(*said, stream=True, stop_reason="tool_use", asked=asked))
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return [(choice["delta"], choice["finish_reason"]) for choice in choices]


def test_calls_are_beside_the_text() -> None:
    found = choice(*CALLS)
    assert found["finish_reason"] == "tool_calls"
    assert found["message"] == {
        "role": "assistant",
        "content": "So:",
        "refusal": None,
        "tool_calls": SHOWN,
    }


def test_calls_without_text_have_no_content() -> None:
    assert choice(*CALL)["message"]["content"] is None


def piece(index: int, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}


def test_the_chunks_of_calls_are_those_of_the_reference() -> None:
    begun = [{**call, "function": call["function"] | {"arguments": ""}} for call in SHOWN]
    assert deltas(*CALLS)[2:] == [
        ({"tool_calls": [{"index": 0, **begun[0]}]}, None),
        (piece(0, '{"n": '), None),
        (piece(0, '1, "s": "ä"}'), None),
        ({"tool_calls": [{"index": 1, **begun[1]}]}, None),
        (piece(1, "{}"), None),
        ({}, "tool_calls"),
    ]


def test_a_function_is_called_the_older_way_where_functions_were_offered() -> None:
    function = SHOWN[0]["function"]
    message = {"role": "assistant", "content": None, "refusal": None, "function_call": function}
    found = choice(*CALL, asked=OLDER)
    assert (found["finish_reason"], found["message"]) == ("function_call", message)
    assert deltas(*CALL, asked=OLDER)[1:] == [
        ({"function_call": {"name": "double", "arguments": ""}}, None),
        ({"function_call": {"arguments": '{"n": '}}, None),
        ({"function_call": {"arguments": '1, "s": "ä"}'}}, None),
        ({}, "function_call"),
    ]
    assert choice(*BARE, asked=OLDER)["message"]["function_call"]["arguments"] == "{}"


def test_two_calls_cannot_be_told_the_older_way() -> None:
    with pytest.raises(AnswerUnfit, match="send the functions as tools"):
        encode(*CALLS, stream=True, asked=OLDER)


@pytest.mark.parametrize("asked", [ASKED, OLDER], ids=["tools", "functions"])
@pytest.mark.parametrize("said", [CALL, BARE, [*THOUGHT, TextDelta(2, "So:"), *CALL]], ids=str)
def test_the_stream_folded_by_the_official_client_is_the_document(
    said: list[Said], asked: TurnRequest
) -> None:
    document = told(ask(encode(*said, stream=False, stop_reason="tool_use", asked=asked)))
    sent = encode(*said, stream=True, usage=True, stop_reason="tool_use", asked=asked)
    whole = b"".join(sent)
    for arriving in (sent, [whole], [whole[i : i + 1] for i in range(len(whole))]):
        assert told(follow(arriving)) == document


def told(completion: ChatCompletion) -> dict[str, Any]:
    """The client parses arguments of its own accord, keeps an index, and starts with no text."""
    found: dict[str, Any] = completion.to_dict(exclude_none=True)
    for option in found["choices"]:
        option["message"]["content"] = option["message"].get("content") or None
        for call in option["message"].get("tool_calls", ()):
            call.pop("index", None)
    return found


@given(cuts=st.lists(st.integers(0, 18), max_size=5))
def test_however_arguments_are_cut_they_are_the_same(cuts: list[int]) -> None:
    whole = '{"n": 1, "s": "ä"}'
    ends = [0, *sorted(cuts), len(whole)]
    pieces = [ToolInput(0, whole[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
    said: list[Said] = [ToolCall(0, "toolu_1", "double"), *pieces]
    assert choice(*said)["message"]["tool_calls"] == SHOWN[:1]
    assert (
        "".join(
            call["function"]["arguments"]
            for delta, _ in deltas(*said)
            for call in delta.get("tool_calls", ())
        )
        == whole
    )


def test_thoughts_have_no_place_in_this_api() -> None:
    for stream in (True, False):
        sent = encode(*THOUGHT, TextDelta(2, "So."), stream=stream)
        assert b"Zanzibar" not in b"".join(sent)
    assert deltas(*THOUGHT) == deltas()


def test_a_stream_that_ends_within_a_call_has_no_finish_reason() -> None:
    sent = encode(*CALLS, stream=True)[:5]
    assert follow(sent).choices[0].finish_reason is None
    with pytest.raises(openai.APIConnectionError):
        follow(sent, lost=True)
