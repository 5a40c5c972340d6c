"""What servers of the Chat Completions API send, each with fields of its own, is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.model import Usage
from sessionbridge.traffic.reading import read
from tests.support.spoken import text
from tests.support.traffic_fixtures import events, read_stream


def chunk(**delta: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]}


def piece(arguments: str, **fields: Any) -> dict[str, Any]:
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return {"function": {"arguments": arguments, **name}, **fields}


def test_chat_streams_of_other_servers() -> None:
    stream = events(
        chunk(role="assistant", reasoning_content="so ", reasoning="so "),
        chunk(reasoning_content="then"),
        chunk(content="Hi"),
        chunk(tool_calls=[piece('{"a"', index=0, id="c1", name="f")]),
        chunk(tool_calls=[piece("", index=1, id="c2", name="g"), piece(":1}", index=0)]),
        chunk(tool_calls=[piece("{}", id="c3", name="h")]),
        {"choices": [{"index": 1, "delta": {"content": "another"}}]},
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 64},
            },
        },
    )
    reading = read_stream("chat", stream + b"data: [DONE]\r\n\r\n")
    assert reading.answer == (
        {"type": "thinking", "thinking": "so then"},
        text("Hi"),
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
        {"type": "tool_use", "id": "c3", "name": "h", "input": {}},
    )
    assert reading.usage == Usage(36, 5, 0, 64)
    assert reading.unread == ("choices after the first",)


def test_half_characters_are_read_within_calls_too() -> None:
    half = chr(0xD83D)
    calls = [piece(f'{{"a": "{half}"}}', id="c1", name="f"), piece(half, id="c2", name="g")]
    answer = read_stream("chat", events(chunk(tool_calls=calls))).answer
    assert [block["input"] for block in answer] == [{"a": half}, half]


def test_custom_calls_of_the_chat_api() -> None:
    pieces = [{"id": "c1", "custom": {"name": "patch", "input": "a\n"}}, {"custom": {"input": "b"}}]
    made = read_stream("chat", events(*(chunk(tool_calls=[some]) for some in pieces))).answer
    assert made == ({"type": "tool_use", "id": "c1", "name": "patch", "input": "a\nb"},)


def test_calls_of_the_older_kind_find_their_results() -> None:
    older = {"name": "look", "arguments": "no JSON"}
    body = {
        "messages": [
            {"role": "assistant", "content": None, "function_call": older},
            {"role": "function", "name": "look", "content": "there"},
        ]
    }
    asked = read("chat", json.dumps(body).encode(), None, "").messages
    assert asked[0].blocks[0]["input"] == "no JSON"
    assert asked[0].blocks[0]["id"] == asked[1].blocks[0]["tool_use_id"] != ""


@pytest.mark.parametrize(
    "body, error",
    [
        ({"error": {"code": 429, "message": "slow"}}, "slow"),
        ({"error": "no such model"}, "no such model"),
        ({"error": {}}, "error"),
        ({"detail": "Not Found"}, "Not Found"),
    ],
)
def test_errors_as_other_servers_spell_them(body: dict[str, Any], error: str) -> None:
    assert read("chat", None, json.dumps(body).encode(), "application/json").error == error
