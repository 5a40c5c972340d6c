"""Requests of the Chat Completions API: those of real clients, and every rule in a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.apis.openai_chat.request import ChatShape
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
SHAPE = ChatShape()
HI = {"role": "user", "content": "Hi"}


def parse(*messages: dict[str, Any], **fields: Any) -> TurnRequest:
    return SHAPE.parse(json.dumps({"model": "m", "messages": messages, **fields}).encode())


def refusal(*messages: dict[str, Any], **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(*messages, **fields)
    return caught.value


def text(words: str) -> TextBlock:
    return {"type": "text", "text": words}


def call(id_: str, arguments: str = '{"n": 1}', name: str = "double") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*given: Any, content: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(given)}


def tool(id_: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def use(id_: str, name: str = "double", **given: Any) -> ToolUseBlock:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_: str, content: Any) -> ToolResultBlock:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def captured() -> Iterator[Any]:
    for path in sorted(CAPTURED.glob("*.json")):
        record = json.loads(path.read_text())
        sides = {f"side {i}": side for i, side in enumerate(record.get("side_calls", []))}
        for key, request in {**record, **sides}.items():
            if isinstance(request, dict) and request.get("path") == "/v1/chat/completions":
                yield pytest.param(without_notes(request["body"]), id=f"{path.stem} {key}")


RECORDED = list(captured())


@pytest.mark.parametrize("request_body", RECORDED)
def test_requests_of_real_clients_are_understood(request_body: dict[str, Any]) -> None:
    turn = SHAPE.parse(json.dumps(request_body).encode())
    sent = request_body["messages"]
    assert turn.model == request_body["model"]
    assert turn.stream is request_body.get("stream", False)
    assert turn.include_usage is ("stream_options" in request_body)
    assert turn.system == "\n\n".join(m["content"] for m in sent if m["role"] == "system")
    said = [m for m in turn.messages if m.blocks[0]["type"] != "tool_result"]
    assert [m.role for m in said] == [m["role"] for m in sent if m["role"] in ("user", "assistant")]
    results = [b for m in turn.messages for b in m.blocks if b["type"] == "tool_result"]
    assert len(results) == len([m for m in sent if m["role"] == "tool"])
    sent = request_body.get("tools", [])
    functions = [tool["function"] for tool in sent if tool["type"] == "function"]
    assert [
        (tool.name, tool.description, tool.schema)
        for tool in turn.parameters.tools
        if not tool.takes_text
    ] == [(told["name"], told["description"], told["parameters"]) for told in functions]
    assert len(turn.parameters.tools) == len(sent)
    limit = request_body.get("max_completion_tokens", request_body.get("max_tokens"))
    assert turn.parameters.max_tokens == limit
    assert set(turn.ignored) <= {"temperature"}


def test_recordings_exist() -> None:
    assert len(RECORDED) >= 8


def test_instructions_are_one_system_prompt_wherever_they_stand() -> None:
    turn = parse(
        {"role": "system", "content": "One."},
        HI,
        {"role": "developer", "content": [text("Two."), text(" ")]},
        {"role": "assistant", "content": "Hello"},
        HI,
        {"role": "system", "content": "Three."},
    )
    assert turn.system == "One.\n\nTwo.\n\nThree."
    assert [message.role for message in turn.messages] == ["user", "assistant", "user"]


PARTS: dict[str, tuple[Any, list[Block]]] = {
    "string": ("Hi", [text("Hi")]),
    "text parts": ([text("a"), text(""), text("b")], [text("a"), text("b")]),
    "cache mark": ([{**text("a"), "cache_control": {"type": "ephemeral"}}], [text("a")]),
    "image data": (
        [
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,aGk=", "detail": "auto"},
            }
        ],
        [
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
            }
        ],
    ),
    "image by URL": (
        [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
        [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}],
    ),
    "text file": (
        [
            {
                "type": "file",
                "file": {"filename": "a.md", "file_data": "data:text/markdown;base64,w6Q="},
            }
        ],
        [
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "ä"},
                "title": "a.md",
            }
        ],
    ),
    "PDF": (
        [
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
            }
        ],
        [
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
                "title": "a.pdf",
            }
        ],
    ),
}


@pytest.mark.parametrize("content, blocks", PARTS.values(), ids=PARTS)
def test_user_content_becomes_blocks(content: Any, blocks: list[Block]) -> None:
    assert parse({"role": "user", "content": content}).messages == (Message("user", tuple(blocks)),)


SAID: dict[str, tuple[dict[str, Any], list[Block]]] = {
    "string": ({"content": "Hello"}, [text("Hello")]),
    "parts": (
        {"content": [text("a"), {"type": "refusal", "refusal": "No."}]},
        [text("a"), text("No.")],
    ),
    "refusal": ({"content": None, "refusal": "No."}, [text("No.")]),
    "call": (calls(call("c1")), [use("c1", n=1)]),
    "text and calls": (
        calls(call("c1"), call("c2", "{}"), content="So:"),
        [text("So:"), use("c1", n=1), use("c2")],
    ),
    "call without arguments": (calls(call("c1", ""), content=""), [use("c1")]),
    "id of another model": (calls(call("functions.double:0")), [use("functions_double_0", n=1)]),
    "function call": (
        {"content": None, "function_call": {"name": "f", "arguments": '{"a": "b"}'}},
        [use("function_call_1", "f", a="b")],
    ),
}


@pytest.mark.parametrize("fields, blocks", SAID.values(), ids=SAID)
def test_answers_in_the_history_become_blocks(fields: dict[str, Any], blocks: list[Block]) -> None:
    results = [tool(call["id"], "1") for call in fields.get("tool_calls", ())]
    if "function_call" in fields:
        results = [{"role": "function", "name": "f", "content": "1"}]
    turn = parse(HI, {**fields, "role": "assistant"}, *results, HI)
    assert turn.messages[1] == Message("assistant", tuple(blocks))


def test_neighbouring_tool_messages_are_one_message_of_the_user() -> None:
    turn = parse(
        HI,
        calls(call("a.1"), call("b")),
        tool("a.1", "1"),
        tool("b", [text("2"), text("")]),
        calls(call("c")),
        tool("c", ""),
    )
    assert turn.messages[2:] == (
        Message("user", (result("a_1", "1"), result("b", [text("2")]))),
        Message("assistant", (use("c", n=1),)),
        Message("user", (result("c", ""),)),
    )


def test_a_message_after_tool_messages_stays_its_own() -> None:
    turn = parse(HI, calls(call("a")), tool("a", "1"), HI)
    assert turn.messages[2:] == (
        Message("user", (result("a", "1"),)),
        Message("user", (text("Hi"),)),
    )


def test_a_function_message_answers_the_function_call_before_it() -> None:
    call = {"name": "f", "arguments": "{}"}
    asked: dict[str, Any] = {"role": "assistant", "content": None, "function_call": call}
    answered = {"role": "function", "name": "f", "content": "1"}
    turn = parse(HI, asked, answered, asked, answered | {"content": None})
    assert [block for message in turn.messages[1:] for block in message.blocks] == [
        use("function_call_1", "f"),
        result("function_call_1", "1"),
        use("function_call_2", "f"),
        result("function_call_2", ""),
    ]
    assert turn.ignored == ()


def image(url: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


def file(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "file", "file": fields}]}


URL = "messages.0.content.0.image_url.url"
DATA = "messages.0.content.0.file.file_data"
ARGUMENTS = "messages.1.tool_calls.0.function.arguments"
REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "image scheme": ([image("file:///etc/passwd")], URL),
    "image not base64": ([image("data:image/png,aGk")], URL),
    "image without data": ([image("data:image/png;base64,")], URL),
    "image type": ([image("data:image/svg+xml;base64,aGk=")], URL),
    "image URL is a number": ([image(5)], URL),
    "image_url is a string": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x"}]}],
        "messages.0.content.0.image_url",
    ),
    "file type": ([file(file_data="data:application/zip;base64,aGk=")], DATA),
    "file not a data URL": ([file(file_data="aGk=")], DATA),
    "uploaded file": ([file(file_id="file-1")], DATA),
    "file is a number": (
        [{"role": "user", "content": [{"type": "file", "file": 5}]}],
        "messages.0.content.0.file",
    ),
    "audio": (
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
        "messages.0.content.0.type",
    ),
    "image of the assistant": (
        [HI, image("https://x/y") | {"role": "assistant"}, HI],
        "messages.1.content.0.type",
    ),
    "image in a system prompt": (
        [image("https://x/y") | {"role": "system"}, HI],
        "messages.0.content.0.type",
    ),
    "image in a tool result": (
        [HI, calls(call("a")), tool("a", image("https://x/y")["content"])],
        "messages.2.content.0.type",
    ),
    "arguments an object": (
        [HI, calls({"id": "a", "function": {"name": "f", "arguments": {}}}), HI],
        ARGUMENTS,
    ),
    "call without id": (
        [HI, calls({"function": {"name": "f", "arguments": ""}}), HI],
        "messages.1.tool_calls.0.id",
    ),
    "custom call without a text": (
        [HI, calls(call("a") | {"type": "custom"}), HI],
        "messages.1.tool_calls.0.custom",
    ),
    "a call of no such kind": (
        [HI, calls(call("a") | {"type": "computer"}), HI],
        "messages.1.tool_calls.0.type",
    ),
    "tool without id": ([HI, {"role": "tool", "content": "1"}], "messages.1.tool_call_id"),
    "function without call": (
        [HI, {"role": "function", "name": "f", "content": "1"}],
        "messages.1.role",
    ),
}


@pytest.mark.parametrize("messages, param", REFUSED.values(), ids=REFUSED)
def test_messages_that_cannot_be_passed_on_are_refused(
    messages: list[dict[str, Any]], param: str
) -> None:
    error = refusal(*messages)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert "passwd" not in error.message


@pytest.mark.parametrize("n", [0, 2, "1"])
def test_only_one_answer_can_be_asked_for(n: Any) -> None:
    assert refusal(HI, n=n).param == "n"


@pytest.mark.parametrize(
    "options, expected",
    [(None, False), ({}, False), ({"include_usage": None}, False), ({"include_usage": True}, True)],
)
def test_usage_in_the_stream_is_asked_for(options: Any, expected: bool) -> None:
    assert parse(HI, stream=True, stream_options=options).include_usage is expected


def test_stream_options_are_an_object() -> None:
    assert refusal(HI, stream_options=[]).param == "stream_options"


def test_what_a_message_loses_is_told() -> None:
    named = {"role": "user", "name": "ann", "content": "Hi"}
    answer = {"role": "assistant", "content": "Hello", "annotations": [], "audio": {"id": "a"}}
    sharp = image("https://x/y")
    sharp["content"][0]["image_url"]["detail"] = "high"
    assert parse(named, answer, sharp).ignored == (
        "messages.audio",
        "messages.content.image_url.detail",
        "messages.name",
    )
