"""Requests of the Messages API: recorded ones of real clients, and every rule in a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.apis.anthropic_messages.request import MessagesShape
from sessionbridge.errors import BadRequest
from sessionbridge.model import (
    Block,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    TurnRequest,
)
from tests.support.recordings import without_notes

CAPTURED = Path(__file__).parent.parent / "captured"
SHAPE = MessagesShape()
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
CALL: ToolUseBlock = {"type": "tool_use", "id": "toolu_1", "name": "double", "input": {"n": 1}}


def body(*messages: dict[str, Any], **fields: Any) -> bytes:
    request = {"model": "m", "max_tokens": 9, "messages": list(messages)}
    return json.dumps(request | fields).encode()


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more: Any) -> TextBlock:
    return {"type": "text", "text": words, **more}


def result(content: Any, **more: Any) -> ToolResultBlock:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}


def parse(*messages: dict[str, Any], **fields: Any) -> TurnRequest:
    return SHAPE.parse(body(*messages, **fields))


def refusal(*messages: dict[str, Any], **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(*messages, **fields)
    return caught.value


def captured() -> Iterator[Any]:
    for path in sorted(CAPTURED.glob("*.json")):
        record = json.loads(path.read_text())
        calls = {**record, **{f"side {i}": c for i, c in enumerate(record.get("side_calls", []))}}
        for key, call in calls.items():
            if isinstance(call, dict) and call.get("path", "").startswith("/v1/messages"):
                yield pytest.param(without_notes(call["body"]), id=f"{path.stem} {key}")


RECORDED = list(captured())


@pytest.mark.parametrize("request_body", RECORDED)
def test_requests_of_real_clients_are_understood(request_body: dict[str, Any]) -> None:
    turn = SHAPE.parse(json.dumps(request_body).encode())
    assert turn.model == request_body["model"]
    assert turn.stream is request_body.get("stream", False)
    assert [m.role for m in turn.messages] == [m["role"] for m in request_body["messages"]]
    assert turn.parameters.max_tokens == request_body["max_tokens"]
    sent = [tool for tool in request_body.get("tools", []) if "input_schema" in tool]
    assert [(tool.name, tool.description, tool.schema) for tool in turn.parameters.tools] == [
        (tool["name"], tool["description"], tool["input_schema"]) for tool in sent
    ]
    eager = any("eager_input_streaming" in tool for tool in sent)
    assert ("tools.eager_input_streaming" in turn.ignored) is eager
    assert "cache_control" not in json.dumps([list(m.blocks) for m in turn.messages])


def test_recordings_exist() -> None:
    assert len(RECORDED) >= 8


@pytest.mark.parametrize(
    "system, expected",
    [
        (None, ""),
        ("Be brief.", "Be brief."),
        ("  \n", ""),
        ([], ""),
        (
            [text("One."), text(" "), text("Two.", cache_control={"type": "ephemeral"})],
            "One.\n\nTwo.",
        ),
    ],
)
def test_system_is_one_text(system: Any, expected: str) -> None:
    assert parse(user(text("Hi")), system=system).system == expected


BLOCKS: dict[str, tuple[Mapping[str, Any], Block]] = {
    "plain": (text("Hi"), text("Hi")),
    "white space stays": (text(" Hi\n"), text(" Hi\n")),
    "cache mark": (text("Hi", cache_control={"type": "ephemeral"}), text("Hi")),
    "citations": (text("Hi", citations=None), text("Hi")),
    "unknown field": (text("Hi", mood="good"), text("Hi", mood="good")),
    "image": ({"type": "image", "source": PNG}, {"type": "image", "source": PNG}),
    "image by URL": (
        {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y"}},
    ),
    "document": (
        {"type": "document", "source": PDF, "title": "t", "citations": {"enabled": True}},
        {"type": "document", "source": PDF, "title": "t"},
    ),
    "document of text": (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
    ),
    "document of blocks": (
        {"type": "document", "source": {"type": "content", "content": [text("x")]}},
        {"type": "document", "source": {"type": "content", "content": [text("x")]}},
    ),
    "result": (result("4", is_error=False), result("4", is_error=False)),
    "empty result": (result(""), result("")),
    "result of blocks": (
        result([text("4", cache_control={}), text(""), {"type": "image", "source": PNG}]),
        result([text("4"), {"type": "image", "source": PNG}]),
    ),
}


@pytest.mark.parametrize("given, expected", BLOCKS.values(), ids=BLOCKS)
def test_user_blocks_pass_as_they_are(given: Mapping[str, Any], expected: Block) -> None:
    assert parse(user(given)).messages == (Message("user", (expected,)),)


def test_blank_text_leaves_the_history() -> None:
    turn = parse(
        user(text("Hi")),
        assistant(text(""), text("Hello"), CALL),
        user(result("2")),
        assistant(text(" \n")),
        user(text("And?")),
    )
    assert turn.messages == (
        Message("user", (text("Hi"),)),
        Message("assistant", (text("Hello"), CALL)),
        Message("user", (result("2"),)),
        Message("user", (text("And?"),)),
    )


HI = user(text("Hi"))
REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "call by the user": ([user(text("x"), CALL)], "messages.0.content.1.type"),
    "result of the assistant": ([HI, assistant(result("x")), HI], "messages.1.content.0.type"),
    "call without input": (
        [HI, assistant({k: v for k, v in CALL.items() if k != "input"}), HI],
        "messages.1.content.0.input",
    ),
    "call with text input": (
        [HI, assistant(CALL | {"input": "{}"}), HI],
        "messages.1.content.0.input",
    ),
    "result without id": ([user({"type": "tool_result"})], "messages.0.content.0.tool_use_id"),
    "result is a number": ([user(result(4))], "messages.0.content.0.content"),
    "result with a call": ([user(result([CALL]))], "messages.0.content.0.content.0.type"),
    "image without source": ([user({"type": "image"})], "messages.0.content.0.source"),
    "image of an upload": (
        [user({"type": "image", "source": {"type": "file", "file_id": "f"}})],
        "messages.0.content.0.source.type",
    ),
    "image without data": (
        [user({"type": "image", "source": {"type": "base64", "media_type": "image/png"}})],
        "messages.0.content.0.source.data",
    ),
    "source type is a list": (
        [user({"type": "document", "source": {"type": ["url"]}})],
        "messages.0.content.0.source.type",
    ),
    "document of a number": (
        [user({"type": "document", "source": {"type": "content", "content": 5}})],
        "messages.0.content.0.source.content",
    ),
    "search result": ([user({"type": "search_result"})], "messages.0.content.0.source"),
}


@pytest.mark.parametrize("messages, param", REFUSED.values(), ids=REFUSED)
def test_blocks_that_cannot_be_passed_on_are_refused(
    messages: list[dict[str, Any]], param: str
) -> None:
    error = refusal(*messages)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")


@pytest.mark.parametrize("system", [5, {"type": "text"}, [{"type": "image", "source": PNG}], [1]])
def test_a_system_prompt_is_text(system: Any) -> None:
    assert (refusal(HI, system=system).param or "").startswith("system")
