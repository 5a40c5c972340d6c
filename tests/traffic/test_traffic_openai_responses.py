"""Items of the Responses API are read as calls, results, thoughts and messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sessionbridge.model import Block
from sessionbridge.traffic.reading import read
from tests.support.spoken import text


def test_a_request_of_the_responses_api() -> None:
    sent = [
        {"role": "developer", "content": "Be brief."},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c.1", "name": "look", "arguments": '{"at": 1}'},
        {"type": "function_call_output", "call_id": "c.1", "output": "there"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "a\nb"},
        {"type": "local_shell_call", "call_id": "c3", "action": {"command": ["ls"]}},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}},
        {"type": "item_reference", "id": "msg_1_0"},
        {"type": "hologram"},
    ]
    body = json.dumps({"model": "m", "instructions": "You help.", "input": sent}).encode()
    reading = read("responses", body, None, "")
    assert reading.system == "You help.\n\nBe brief."
    shown = [(m.role, *(dict(block) for block in m.blocks)) for m in reading.messages]
    call = {"type": "tool_use"}
    assert shown == [
        ("assistant", {"type": "thinking", "thinking": "hm"}),
        ("assistant", call | {"id": "c_1", "name": "look", "input": {"at": 1}}),
        (
            "user",
            {
                "type": "tool_result",
                "tool_use_id": "c_1",
                "content": [text("there")],
                "is_error": False,
            },
        ),
        ("assistant", call | {"id": "c2", "name": "patch", "input": {"input": "a\nb"}}),
        (
            "assistant",
            call | {"id": "c3", "name": "local_shell", "input": {"action": {"command": ["ls"]}}},
        ),
        (
            "assistant",
            call | {"id": "ws_1", "name": "web_search", "input": {"action": {"query": "q"}}},
        ),
        ("assistant", {"type": "item_reference", "id": "msg_1_0"}),
        ("user", {"type": "unread", "kind": "'hologram'"}),
    ]
    assert reading.unread == ("content of type 'hologram'",)


def test_a_tool_that_ran_at_the_api_has_its_result_in_the_answer() -> None:
    call = {"type": "code_interpreter_call", "id": "ci_1", "code": "1+1", "output": "2"}
    body = json.dumps({"status": "completed", "output": [call]}).encode()
    made, answered = read("responses", None, body, "").answer
    assert (made["name"], made["input"]) == ("code_interpreter", {"code": "1+1"})
    assert (answered["tool_use_id"], answered["content"]) == ("ci_1", [text("2")])


# --- streams whose last event never came --------------------------------------------------------


def told(*events: Mapping[str, Any]) -> list[Block]:
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return [*read("responses", None, stream, "text/event-stream").answer]


def item(state: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.output_item.{state}", "item": fields}


def more(name: str, delta: str) -> dict[str, Any]:
    return {"type": f"response.{name}.delta", "delta": delta}


CALL: dict[str, Any] = {"type": "function_call", "call_id": "c", "name": "f"}
MCP: dict[str, Any] = {"type": "mcp_call", "id": "m", "name": "f"}
MESSAGE: dict[str, Any] = {"type": "message", "role": "assistant"}
MADE = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
ARGUMENTS = more("function_call_arguments", '{"a":1}')


def said(*words: str) -> list[dict[str, str]]:
    return [{"type": "output_text", "text": text} for text in words]


@pytest.mark.parametrize(
    ("events", "blocks"),
    [
        pytest.param(
            [ARGUMENTS, item("done", **CALL, arguments='{"a":1}')], [MADE], id="never added"
        ),
        pytest.param(
            [item("added", type="function_call", id="fc"), ARGUMENTS, item("done", **CALL)],
            [MADE],
            id="named at its end",
        ),
        pytest.param(
            [
                item("added", **MESSAGE),
                more("output_text", ""),
                item("done", **MESSAGE, content=said("Hi")),
            ],
            [text("Hi")],
            id="only an empty piece",
        ),
        pytest.param(
            [item("added", **MESSAGE), more("output_text", "Hi"), item("done", type="message")],
            [text("Hi")],
            id="nothing at its end",
        ),
        pytest.param(
            [
                item("added", **MESSAGE, content=said("a", "b")),
                item("done", **MESSAGE, content=said("c"), status="completed"),
            ],
            [text("c")],
            id="fewer parts at its end",
        ),
        pytest.param(
            [
                item("added", **MESSAGE),
                more("output_text", "Let me look."),
                item("added", **CALL),
                more("function_call_arguments", '{"a":1'),
            ],
            [MADE],
            id="no places, and cut off",
        ),
    ],
)
def test_items_tell_the_answer(events: list[dict[str, Any]], blocks: list[dict[str, Any]]) -> None:
    assert told(*events) == blocks


def test_a_result_that_comes_with_its_call_at_the_end() -> None:
    made, result = told(
        item("added", **MCP),
        more("mcp_call_arguments", '{"a":1}'),
        item("done", **MCP, arguments='{"a":1}', output="the result"),
    )
    assert made == MADE | {"id": "m"}
    assert (result["type"], result["content"]) == ("tool_result", [text("the result")])
