"""What a model writes as the input of a call, however odd or cut off: the conversation that is kept
is the one that the client sends back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.model import (
    Finished,
    Said,
    Started,
    TextDelta,
    ToolCall,
    ToolInput,
    TurnRequest,
    Usage,
)
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.turns.exchange import Outcome

WRITTEN = {
    "whole": '{"input": "ab"}',
    "nothing": "",
    "cut off": '{"input": "ab',
    "cut off at once": "{",
    "a line break": '{"input": "a\nb"}',
    "twice": "{}{}",
    "a list": "[1]",
    "a text": '"x"',
    "null": "null",
    "NaN": '{"a": NaN}',
    "more than asked": '{"input": "x", "more": 1}',
    "another field": '{"text": "x"}',
    "another type": '{"input": 5}',
}
SCHEMA = {"type": "object"}
TOOLS: dict[str, list[Any]] = {
    "messages": [{"name": "look", "input_schema": SCHEMA}],
    "chat": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    "responses": [{"type": "function", "name": "look", "parameters": SCHEMA}],
    "chat custom": [{"type": "custom", "custom": {"name": "look"}}],
    "responses custom": [{"type": "custom", "name": "look"}],
}
ASK = {"role": "user", "content": "Hi"}


def request(kind: str, *said: Any) -> bytes:
    place = "input" if kind.startswith("responses") else "messages"
    body = {"model": "m", "max_tokens": 9, "tools": TOOLS[kind], place: [ASK, *said]}
    return json.dumps(body).encode()


def sent_back(kind: str, document: Any) -> list[Any]:
    """The answer and the result of its call, as a client adds them to its history."""
    match kind.partition(" ")[0]:
        case "messages":
            result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}
            said = {"role": "assistant", "content": document["content"]}
            return [said, {"role": "user", "content": [result]}]
        case "chat":
            result = {"role": "tool", "tool_call_id": "toolu_1", "content": "1"}
            return [document["choices"][0]["message"], result]
    output = "custom_tool_call_output" if "custom" in kind else "function_call_output"
    result = {"type": output, "call_id": "toolu_1", "output": "1"}
    return [*document["output"], result]


@pytest.mark.parametrize("kind", TOOLS)
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("stop", ["tool_use", "max_tokens"])
def test_what_is_kept_is_what_comes_back(kind: str, written: str, stop: str) -> None:
    shape = SHAPES[kind.partition(" ")[0]]
    turn: TurnRequest = shape.parse(request(kind))
    deltas: list[Said | Finished] = [
        Started("msg_1", "claude-x", Usage()),
        TextDelta(0, "Let me see."),
        ToolCall(1, "toolu_1", "look"),
        *[ToolInput(1, piece) for piece in (written[:4], written[4:]) if piece],
        Finished("sid", ("e",), stop, Usage(), None),
    ]
    outcome = Outcome(call_input=lambda name, text: shape.call_input(turn, name, text))
    encoder = shape.encoder(turn)
    for delta in deltas:
        outcome.hear(delta)
        document = encoder.close(delta) if isinstance(delta, Finished) else encoder.delta(delta)
    (answer, _) = shape.parse(request(kind, *sent_back(kind, json.loads(document)))).messages[1:]
    assert chain([answer])[0].hash == chain([outcome.answer])[0].hash
