"""What the model thinks, in Chat Completions: a field that clients of other services know, and
those of the API itself pass over."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sessionbridge.apis.openai_chat.request import ChatShape
from sessionbridge.model import (
    Message,
    RedactedThinking,
    Said,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    TurnRequest,
)
from tests.apis.test_openai_chat_answer import ask, chunks_of, encode, follow

HI = {"role": "user", "content": "Hi"}
THOUGHT: list[Said] = [
    ThinkingDelta(0, ""),
    ThinkingDelta(0, "Let me "),
    ThinkingDelta(0, "see."),
    ThinkingSignature(0, "c2ln"),
    RedactedThinking(1, "x"),
]
TEXT: list[Said] = [TextDelta(2, "Hel"), TextDelta(2, "lo")]
CALL: list[Said] = [ToolCall(3, "toolu_1", "look"), ToolInput(3, '{"n": 1}')]
ANSWERS: dict[str, list[Said]] = {
    "a text": [*THOUGHT, *TEXT],
    "a call": [*THOUGHT, *CALL],
    "both": [*THOUGHT, *TEXT, *CALL],
    "nothing": THOUGHT,
}


def asking(**fields: Any) -> TurnRequest:
    return ChatShape().parse(json.dumps({"model": "m", "messages": [HI], **fields}).encode())


REASONING = asking(reasoning_effort="high")


@pytest.mark.parametrize("deltas", ANSWERS.values(), ids=ANSWERS)
def test_thoughts_are_told_where_reasoning_is_asked_for(deltas: list[Said]) -> None:
    plain = [d for d in deltas if isinstance(d, TextDelta | ToolCall | ToolInput)]
    without = ask(encode(*plain, stream=False, asked=REASONING)).to_dict()
    document = ask(encode(*deltas, stream=False, asked=REASONING))
    told: dict[str, Any] = document.to_dict()
    assert told["choices"][0]["message"].pop("reasoning_content") == "Let me see."
    assert told == without

    sent = encode(*deltas, stream=True, usage=True, asked=REASONING)
    folded = follow(sent).choices[0].message.to_dict()
    assert folded.get("reasoning_content") == "Let me see."
    assert folded["content"] == (document.choices[0].message.content or "")
    changes = [c["delta"] for chunk in chunks_of(sent) for c in chunk["choices"]]
    assert changes[:3] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Let me "},
        {"reasoning_content": "see."},
    ]
    assert not [change for change in changes[3:] if "reasoning_content" in change]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("effort", [None, "none", "minimal"])
def test_thoughts_are_kept_from_a_client_that_asks_for_none(
    effort: str | None, stream: bool
) -> None:
    asked = asking(reasoning_effort=effort)
    told = encode(*THOUGHT, *TEXT, stream=stream, asked=asked)
    assert b"reasoning_content" not in b"".join(told)
    assert b"Let me" not in b"".join(told)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_in_the_history_say_nothing_and_are_no_fault(field: str) -> None:
    said = {"role": "assistant", "content": "Hello", field: "Let me see."}
    again = {"role": "user", "content": "Again"}
    turn = asking(messages=[HI, said, again])
    bare = asking(messages=[HI, {"role": "assistant", "content": "Hello"}, again])
    assert turn == bare and turn.ignored == ()


def test_the_details_of_thoughts_are_no_fault_either() -> None:
    details = [{"type": "reasoning.text", "text": "Hm"}]
    said = {"role": "assistant", "content": "Hello", "reasoning_details": details}
    assert asking(messages=[HI, said, HI]).ignored == ()


def test_thoughts_of_a_user_are_without_effect_and_told() -> None:
    assert asking(messages=[HI | {"reasoning_content": "x"}]).ignored == (
        "messages.reasoning_content",
    )


def test_an_answer_sent_back_is_the_one_that_was_given() -> None:
    document = ask(encode(*THOUGHT, *TEXT, stream=False, asked=REASONING))
    back = document.choices[0].message.to_dict(exclude_none=True)
    turn = asking(messages=[HI, back, HI], reasoning_effort="high")
    assert turn.messages[1] == Message("assistant", ({"type": "text", "text": "Hello"},))
    assert turn.ignored == ()
    assert replace(turn, messages=()) == replace(REASONING, messages=())
