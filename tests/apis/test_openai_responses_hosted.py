"""Items of real Responses histories: each type of the official package is decided, one by one."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest
from openai.types.responses.response_input_item_param import ResponseInputItemParam

from sessionbridge.apis.openai_responses import hosted
from sessionbridge.model import Block, Message
from tests.apis.test_openai_responses import HI, parse, text
from tests.apis.test_openai_responses_items import said

PNG = "iVBORw0KGgo="
SHOT = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
TEXTS = {"message", "function_call", "function_call_output", "item_reference"}
TEXTS |= {"custom_tool_call", "custom_tool_call_output", "additional_tools"}


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "status": "completed", **fields}


def use(id_: str, name: str, /, **given: Any) -> Block:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_: str, content: Any) -> Block:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


RAN: dict[str, tuple[list[dict[str, Any]], Block, Block]] = {
    "web search": (
        [item("web_search_call", id="ws_1", action={"type": "search", "query": "x"})],
        use("ws_1", "web_search", action={"type": "search", "query": "x"}),
        result("ws_1", "completed"),
    ),
    "file search": (
        [item("file_search_call", id="fs_1", queries=["x"], results=[{"text": "found"}])],
        use("fs_1", "file_search", queries=["x"]),
        result("fs_1", '[{"text": "found"}]'),
    ),
    "code": (
        [item("code_interpreter_call", id="ci_1", code="1+1", container_id="c", outputs=None)],
        use("ci_1", "code_interpreter", code="1+1"),
        result("ci_1", "{}"),
    ),
    "picture": (
        [item("image_generation_call", id="ig_1", revised_prompt="a cat", result=PNG)],
        use("ig_1", "image_generation", revised_prompt="a cat"),
        result("ig_1", [SHOT]),
    ),
    "mcp": (
        [item("mcp_call", id="m_1", server_label="my docs", name="find", arguments='{"q": 1}')],
        use("m_1", "my_docs__find", q=1),
        result("m_1", "{}"),
    ),
    "mcp with an output": (
        [item("mcp_call", id="m_1", server_label="d", name="f", arguments="", output="found")],
        use("m_1", "d__f"),
        result("m_1", "found"),
    ),
    "local shell, its output names the item": (
        [
            item("local_shell_call", id="ls_1", call_id="c", action={"command": ["ls"]}),
            item("local_shell_call_output", id="ls_1", output="a.txt"),
        ],
        use("c", "local_shell", action={"command": ["ls"]}),
        result("c", "a.txt"),
    ),
    "local shell, its output names the call": (
        [
            item("local_shell_call", id="ls_1", call_id="c", action={"command": ["ls"]}),
            item("local_shell_call_output", call_id="c", output="a.txt"),
        ],
        use("c", "local_shell", action={"command": ["ls"]}),
        result("c", "a.txt"),
    ),
    "shell": (
        [
            item("shell_call", call_id="s", action={"commands": ["ls"]}),
            item("shell_call_output", call_id="s", output=[{"stdout": "é"}], max_output_length=9),
        ],
        use("s", "shell", action={"commands": ["ls"]}),
        result("s", '[{"stdout": "é"}]'),
    ),
    "patch": (
        [
            item("apply_patch_call", call_id="p", operation={"type": "delete_file", "path": "a"}),
            item("apply_patch_call_output", call_id="p", output="gone"),
        ],
        use("p", "apply_patch", operation={"type": "delete_file", "path": "a"}),
        result("p", '{"status": "completed", "output": "gone"}'),
    ),
    "computer": (
        [
            item("computer_call", id="cu_1", call_id="c", action={"type": "screenshot"}),
            item(
                "computer_call_output",
                call_id="c",
                output={
                    "type": "computer_screenshot",
                    "image_url": f"data:image/png;base64,{PNG}",
                },
            ),
        ],
        use("c", "computer", action={"type": "screenshot"}),
        result("c", [SHOT]),
    ),
    "computer, its screenshot uploaded": (
        [
            item("computer_call", id="cu_1", call_id="c", action={"type": "screenshot"}),
            item("computer_call_output", call_id="c", output={"file_id": "f"}),
        ],
        use("c", "computer", action={"type": "screenshot"}),
        result("c", '{"file_id": "f"}'),
    ),
    "an approval": (
        [
            item("mcp_approval_request", id="ma_1", server_label="d", name="f", arguments="{}"),
            item("mcp_approval_response", approval_request_id="ma_1", approve=False),
        ],
        use("ma_1", "mcp_approval", server_label="d", name="f", arguments="{}"),
        result("ma_1", "false"),
    ),
    "a picture that is none": (
        [item("image_generation_call", id="ig_1", result="not base64")],
        use("ig_1", "image_generation"),
        result("ig_1", "{}"),
    ),
    "a screenshot that cannot be shown": (
        [
            item("computer_call", id="cu_1", call_id="c", action={"type": "screenshot"}),
            item(
                "computer_call_output",
                call_id="c",
                output={"type": "computer_screenshot", "image_url": "data:image/bmp;base64,Qk0="},
            ),
        ],
        use("c", "computer", action={"type": "screenshot"}),
        result("c", '{"type": "computer_screenshot"}'),
    ),
    "program": (
        [
            item("program", id="pr_1", call_id="c", code="x", fingerprint="f"),
            item("program_output", id="po_1", call_id="c", result="7"),
        ],
        use("c", "program", code="x"),
        result("c", "7"),
    ),
    "tool search at OpenAI": (
        [
            item("tool_search_call", id="ts_1", call_id=None, arguments={"q": "x"}),
            item("tool_search_output", id="to_1", call_id=None, tools=[]),
        ],
        use("ts_1", "tool_search", arguments={"q": "x"}),
        result("ts_1", "[]"),
    ),
    "tool search in the client": (
        [
            item("tool_search_call", call_id="c", arguments={"q": "x"}),
            item("tool_search_output", call_id="c", tools=[{"type": "function", "name": "f"}]),
        ],
        use("c", "tool_search", arguments={"q": "x"}),
        result("c", '["f"]'),
    ),
}


@pytest.mark.parametrize("items, call, answer", RAN.values(), ids=RAN)
def test_what_was_run_is_a_call_and_its_result(
    items: list[dict[str, Any]], call: Block, answer: Block
) -> None:
    turn = parse(HI, *items, said("So."), HI)
    assert turn.messages[1:4] == (
        Message("assistant", (call,)),
        Message("user", (answer,)),
        Message("assistant", (text("So."),)),
    )
    assert turn.ignored == ()


@pytest.mark.parametrize("kind", hosted.LEFT_OUT)
def test_what_says_nothing_is_left_out_and_named(kind: str) -> None:
    turn = parse(HI, said("So."), item(kind, id="x_1", encrypted_content="…"), HI)
    assert [message.role for message in turn.messages] == ["user", "assistant", "user"]
    assert turn.ignored == ((f"input.{kind}",) if hosted.LEFT_OUT[kind] else ())


def test_an_approval_that_nobody_gave_is_left_out_and_named() -> None:
    request = item("mcp_approval_request", id="ma_1", server_label="d", name="f", arguments="{}")
    assert parse(HI, said("So."), request, HI).ignored == ("input.mcp_approval_request",)


def test_the_decision_may_be_the_last_word() -> None:
    request = item("mcp_approval_request", id="ma_1", server_label="d", name="f", arguments="{}")
    decided = item("mcp_approval_response", approval_request_id="ma_1", approve=True, reason="ok")
    (answer,) = parse(HI, request, decided).messages[-1].blocks
    assert answer["content"] == '{"approve": true, "reason": "ok"}'


def test_every_item_type_of_the_official_package_is_decided() -> None:
    decided = TEXTS | hosted.CALLS.keys() | hosted.RESULTS.keys() | hosted.BOTH.keys()
    known: set[str] = set()
    for member in get_args(ResponseInputItemParam):
        for part in get_args(get_type_hints(member)["type"]):
            known |= {part} if isinstance(part, str) else set(get_args(part)) - {None}
    assert known - {type(None)} == decided | hosted.LEFT_OUT.keys()


def space(name: str, *tools: str) -> dict[str, Any]:
    return {
        "type": "namespace",
        "name": name,
        "tools": [{"type": "function", "name": tool} for tool in tools],
    }


def test_tools_that_items_bring_are_offered_and_their_calls_are_known_by_both_names() -> None:
    """As Codex 0.171 sends them with its newest models."""
    more = {"type": "additional_tools", "role": "developer", "tools": [space("shell", "exec")]}
    called = {"type": "function_call", "call_id": "c", "name": "exec", "namespace": "shell"}
    output = {"type": "function_call_output", "call_id": "c", "output": "done"}
    found = item("tool_search_output", call_id="s", tools=[space("web", "open")])
    searched = item("tool_search_call", call_id="s", arguments={})
    items = [more, HI, {**called, "arguments": "{}"}, output, searched, found, HI]
    turn = parse(*items, tools=[{"type": "function", "name": "shell__exec"}])
    assert [(t.name, t.namespace, t.called) for t in turn.parameters.tools] == [
        ("shell__exec", None, None),
        ("shell__exec_2", "shell", "exec"),
        ("web__open", "web", "open"),
    ]
    assert turn.messages[1].blocks[0]["name"] == "shell__exec_2"
    assert turn.ignored == ()


def test_a_namespace_keeps_its_description_when_it_is_brought_again() -> None:
    brought = {"type": "additional_tools", "tools": [{**space("a", "x", "y"), "description": "D"}]}
    told = [tool.description for tool in parse(brought, HI, brought).parameters.tools]
    assert told == ["D", ""]


def test_tools_that_are_brought_again_replace_those_before() -> None:
    first = {"type": "additional_tools", "tools": [space("a", "x", "y")]}
    again = {"type": "additional_tools", "tools": [{**space("a", "y"), "description": "New."}]}
    turn = parse(first, HI, again)
    assert [tool.name for tool in turn.parameters.tools] == ["a__x", "a__y"]
