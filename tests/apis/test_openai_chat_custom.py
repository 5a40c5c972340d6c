"""Custom tools of Chat Completions, which take text: offered, called, and in the history."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from sessionbridge.apis.common import free_text
from sessionbridge.apis.openai_chat.request import ChatShape
from sessionbridge.model import (
    Finished,
    Said,
    Started,
    Tool,
    ToolCall,
    ToolInput,
    TurnRequest,
    Usage,
)

SHAPE = ChatShape(clock=lambda: 1.0)
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: 'x'"}}
PATCH = {"type": "custom", "custom": {"name": "apply_patch", "description": "Edits."}}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
HI = {"role": "user", "content": "Hi"}


def parse(*messages: Any, **fields: Any) -> TurnRequest:
    request = {"model": "m", "messages": list(messages) or [HI], **fields}
    return SHAPE.parse(json.dumps(request).encode())


def custom(**fields: Any) -> dict[str, Any]:
    return {"type": "custom", "custom": {**PATCH["custom"], **fields}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "tool, description",
    [
        (PATCH, "Edits."),
        (custom(format={"type": "text"}), "Edits."),
        (custom(format=GRAMMAR), "Edits.\n\nThe input must follow this lark grammar:\nstart: 'x'"),
    ],
)
def test_the_model_is_offered_a_tool_with_one_text(tool: Any, description: str) -> None:
    turn = parse(tools=[tool])
    wanted = Tool("apply_patch", description, free_text.SCHEMA, takes_text=True)
    assert turn.parameters.tools == (wanted,) and turn.ignored == ()


def allowed(mode: str, *tools: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


NAMED = {"type": "custom", "custom": {"name": "apply_patch"}}
CHOICES: list[tuple[Any, list[str], tuple[str, ...]]] = [
    (NAMED, ["apply_patch", "look"], ("tool_choice",)),
    (allowed("auto", NAMED), ["apply_patch"], ()),
    (allowed("auto", NAMED, LOOK), ["apply_patch", "look"], ()),
    (allowed("required", NAMED), ["apply_patch"], ("tool_choice",)),
    (allowed("auto"), [], ()),
]


@pytest.mark.parametrize("choice, offered, ignored", CHOICES)
def test_some_tools_may_be_allowed(
    choice: Any, offered: list[str], ignored: tuple[str, ...]
) -> None:
    turn = parse(tools=[PATCH, LOOK], tool_choice=choice)
    assert [tool.name for tool in turn.parameters.tools] == offered
    assert turn.ignored == ignored


def test_a_past_call_is_one_with_its_text() -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "apply_patch", "input": "*** x"}}
    done = {"role": "tool", "tool_call_id": "c1", "content": "ok"}
    turn = parse(HI, {"role": "assistant", "content": None, "tool_calls": [call]}, done)
    used = {"type": "tool_use", "id": "c1", "name": "apply_patch", "input": {"input": "*** x"}}
    assert turn.messages[1].blocks == (used,)


SAID: list[Said] = [
    Started("msg_1", "claude-x", Usage()),
    ToolCall(0, "toolu_1", "apply_patch"),
    ToolInput(0, '{"inp'),
    ToolInput(0, 'ut": "*** x\\n"}'),
    ToolCall(1, "toolu_2", "look"),
    ToolInput(1, "{}"),
]
END = Finished("sid", ("e",), "tool_use", Usage(), None)
TOLD = [
    {
        "id": "toolu_1",
        "type": "custom",
        "custom": {"name": "apply_patch", "input": "*** x\n"},
    },
    {"id": "toolu_2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
]


def test_a_call_is_told_by_its_text() -> None:
    encoder = SHAPE.encoder(parse(tools=[PATCH, LOOK]))
    assert b"".join(map(encoder.delta, SAID)) == b""
    document = json.loads(encoder.close(END))
    completion = ChatCompletion.model_validate(document)
    assert document["choices"][0]["message"]["tool_calls"] == TOLD
    assert completion.choices[0].finish_reason == "tool_calls"


def test_a_stream_tells_it_in_one_piece() -> None:
    """The official clients take each piece of a custom call for the whole of it."""
    encoder = SHAPE.encoder(parse(tools=[PATCH, LOOK], stream=True))
    sent = b"".join([*map(encoder.delta, SAID), encoder.close(END)]).decode()
    datas = [line.removeprefix("data: ") for line in sent.splitlines() if line]
    chunks = [json.loads(data) for data in datas[:-1]]
    pieces = [
        call for c in chunks for ch in c["choices"] for call in ch["delta"].get("tool_calls", [])
    ]
    assert pieces[0] == {"index": 0, **TOLD[0]}
    assert [piece["index"] for piece in pieces[1:]] == [1, 1]


def test_what_is_not_what_was_asked_for_is_told_as_it_is() -> None:
    turn = parse(tools=[PATCH])
    encoder = SHAPE.encoder(turn)
    said: list[Said] = [SAID[0], SAID[1], ToolInput(0, '{"input": "*** Be')]
    b"".join(map(encoder.delta, said))
    (call,) = json.loads(encoder.close(END))["choices"][0]["message"]["tool_calls"]
    assert call["custom"]["input"] == '{"input": "*** Be'
