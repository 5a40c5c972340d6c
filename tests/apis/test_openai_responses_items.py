"""Input items of the Responses API, every kind of them, in tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from sessionbridge.model import (
    Block,
    FileBlock,
    Message,
    ReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from tests.apis.test_openai_responses import HI, parse, refusal, text


def message(role: str, *content: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(content)}


def said(words: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": words, "annotations": [], "logprobs": []}
    return {**message("assistant", part), "id": "msg_1", "status": "completed", "phase": "answer"}


def call(id_: str, arguments: str = '{"n": 1}', name: str = "double") -> dict[str, Any]:
    item = {"type": "function_call", "id": f"fc_{id_}", "status": "completed"}
    return {**item, "call_id": id_, "name": name, "arguments": arguments}


def patch(id_: str, words: str) -> dict[str, Any]:
    item = {"type": "custom_tool_call", "status": "completed"}
    return {**item, "call_id": id_, "name": "apply_patch", "input": words}


def output(id_: str, content: Any, kind: str = "function") -> dict[str, Any]:
    return {"type": f"{kind}_call_output", "call_id": id_, "output": content}


def use(id_: str, name: str = "double", **given: Any) -> ToolUseBlock:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_: str, content: Any) -> ToolResultBlock:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def reference(id_: str) -> dict[str, Any]:
    return {"type": "item_reference", "id": id_}


def referred(id_: str, response: str, block: int) -> ReferenceBlock:
    return {"type": "item_reference", "id": id_, "response": response, "block": block}


def test_instructions_are_one_system_prompt_wherever_they_stand() -> None:
    turn = parse(
        {"role": "system", "content": "Two."},
        HI,
        message("developer", {"type": "input_text", "text": "Three."}, text(" ")),
        said("Hello"),
        {"role": "developer", "content": "Four."},
        HI,
        instructions="One.",
    )
    assert turn.system == "One.\n\nTwo.\n\nThree.\n\nFour."
    assert [message.role for message in turn.messages] == ["user", "assistant", "user"]


def b64(
    kind: Literal["image", "document"], media_type: str, data: str = "aGk=", **more: Any
) -> FileBlock:
    source = {"type": "base64", "media_type": media_type, "data": data}
    return {"type": kind, "source": source, **more}


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"}
PDF = {
    "type": "input_file",
    "filename": "a.pdf",
    "file_data": "data:application/pdf;base64,aGk=",
}
PARTS: dict[str, tuple[Any, list[Block]]] = {
    "string": ("Hi", [text("Hi")]),
    "texts": (
        [{"type": "input_text", "text": w} for w in ("a", "", "b")],
        [text("a"), text("b")],
    ),
    "image data": ([IMAGE], [b64("image", "image/png")]),
    "image by URL": (
        [{"type": "input_image", "image_url": "https://x/y.png"}],
        [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}],
    ),
    "PDF": ([PDF], [b64("document", "application/pdf", title="a.pdf")]),
    "PDF by URL": (
        [{"type": "input_file", "file_url": "https://x/a.pdf", "filename": None}],
        [{"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}}],
    ),
}


@pytest.mark.parametrize("content, blocks", PARTS.values(), ids=PARTS)
def test_user_content_becomes_blocks(content: Any, blocks: list[Block]) -> None:
    assert parse({"role": "user", "content": content}).messages == (Message("user", tuple(blocks)),)


@pytest.mark.parametrize("kind", ["function", "custom_tool"])
def test_outputs_become_results(kind: str) -> None:
    called = patch("a", "x") if kind == "custom_tool" else call("a")
    parts = [{"type": "input_text", "text": "1"}, {"type": "input_text", "text": " "}, IMAGE]
    for content, told in (
        ("1", "1"),
        ("", ""),
        ([], []),
        (parts, [text("1"), b64("image", "image/png")]),
    ):
        turn = parse(HI, called, output("a", content, kind))
        assert turn.messages[2] == Message("user", (result("a", told),))


SAID: dict[str, tuple[list[dict[str, Any]], list[Block]]] = {
    "string": ([{"role": "assistant", "content": "Hello"}], [text("Hello")]),
    "parts": (
        [
            message(
                "assistant",
                {"type": "output_text", "text": "a"},
                {"type": "refusal", "refusal": "No."},
            )
        ],
        [text("a"), text("No.")],
    ),
    "two items": ([said("a"), said("b")], [text("a"), text("b")]),
    "reasoning": (
        [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}, said("a")],
        [text("a")],
    ),
    "reference": (
        [reference("rs_01_0"), reference("msg_01_1"), said("a")],
        [referred("msg_01_1", "msg_01", 1), text("a")],
    ),
    "reference of others": ([reference("msg_68af")], [referred("msg_68af", "msg_68af", 0)]),
    "reference without a type": (
        [{"id": "msg_01_0"}, {"id": "x", "type": None}],
        [referred("msg_01_0", "msg_01", 0), referred("x", "x", 0)],
    ),
}


@pytest.mark.parametrize("items, blocks", SAID.values(), ids=SAID)
def test_answers_in_the_history_become_blocks(
    items: list[dict[str, Any]], blocks: list[Block]
) -> None:
    turn = parse(HI, *items, HI)
    assert turn.messages[1:-1] == (Message("assistant", tuple(blocks)),)
    assert turn.ignored == ()


CALLED: dict[str, tuple[dict[str, Any], ToolUseBlock]] = {
    "function": (call("c"), use("c", n=1)),
    "without arguments": (call("c", ""), use("c")),
    "id of another model": (call("f.double:0"), use("f_double_0", n=1)),
    "custom": (patch("c", "*** Begin"), use("c", "apply_patch", input="*** Begin")),
    "namespace": (
        {**call("c"), "namespace": "math", "caller": {"type": "direct"}},
        use("c", "math__double", n=1),
    ),
    "custom in a namespace": (
        {**patch("c", ""), "namespace": "files"},
        use("c", "files__apply_patch", input=""),
    ),
}


@pytest.mark.parametrize("item, block", CALLED.values(), ids=CALLED)
def test_calls_in_the_history_become_blocks(item: dict[str, Any], block: ToolUseBlock) -> None:
    turn = parse(HI, item, output(item["call_id"], "1"))
    assert turn.messages[1:] == (
        Message("assistant", (block,)),
        Message("user", (result(block["id"], "1"),)),
    )
    assert turn.ignored == ()


def test_an_answer_and_its_calls_are_one_message_and_so_are_their_outputs() -> None:
    turn = parse(
        HI,
        said("So:"),
        {"type": "reasoning", "summary": []},
        call("a"),
        patch("b", "x"),
        output("a", "1"),
        {"role": "developer", "content": "Go on."},
        output("b", "2", "custom_tool"),
        call("c"),
        output("c", "3"),
        HI,
        HI,
    )
    assert turn.messages[1:] == (
        Message("assistant", (text("So:"), use("a", n=1), use("b", "apply_patch", input="x"))),
        Message("user", (result("a", "1"), result("b", "2"))),
        Message("assistant", (use("c", n=1),)),
        Message("user", (result("c", "3"),)),
        Message("user", (text("Hi"),)),
        Message("user", (text("Hi"),)),
    )


def test_a_reference_may_stand_for_the_call_of_an_output() -> None:
    turn = parse(HI, reference("msg_01_0"), reference("fc_01_1"), output("a", "1"))
    assert turn.messages[1:] == (
        Message("assistant", (referred("msg_01_0", "msg_01", 0), referred("fc_01_1", "msg_01", 1))),
        Message("user", (result("a", "1"),)),
    )


def test_what_is_kept_here_is_gone_on_from() -> None:
    turn = parse(output("a", "1"), previous_response_id="resp_01")
    assert turn.previous == "msg_01"
    assert turn.echo["previous_response_id"] == "resp_01"
    assert turn.messages == (Message("user", (result("a", "1"),)),)


CONTENT = "input.0.content.0"
REFUSED: dict[str, tuple[list[Any], str]] = {
    "an item is text": (["/etc/passwd"], "input.0"),
    "an item is a list": ([["/etc/passwd"]], "input.0"),
    "an item is nothing known": ([HI, {"type": "passwd_call"}], "input.1.type"),
    "a type that is none": ([HI, {"type": "my_call", "id": "ws_1"}], "input.1.type"),
    "a type that is a number": ([{"type": 5, "role": "user", "content": "x"}], "input.0.type"),
    "an empty item": ([{}], "input.0.role"),
    "unknown role": ([{"role": "tool", "content": "x"}], "input.0.role"),
    "no content": ([{"role": "user"}], "input.0.content"),
    "content is a number": ([{"role": "user", "content": 5}], "input.0.content"),
    "part is text": ([message("user", "passwd")], CONTENT),  # type: ignore[arg-type]
    "part unknown": ([message("user", {"type": "input_audio"})], f"{CONTENT}.type"),
    "text is a number": ([message("user", {"type": "input_text", "text": 5})], f"{CONTENT}.text"),
    "image scheme": (
        [message("user", {"type": "input_image", "image_url": "file:///etc/passwd"})],
        f"{CONTENT}.image_url",
    ),
    "image type": (
        [message("user", {"type": "input_image", "image_url": "data:image/tiff;base64,aGk="})],
        f"{CONTENT}.image_url",
    ),
    "image is an object": (
        [message("user", {"type": "input_image", "image_url": {"url": "https://x"}})],
        f"{CONTENT}.image_url",
    ),
    "uploaded image": (
        [message("user", {"type": "input_image", "file_id": "file-passwd"})],
        f"{CONTENT}.image_url",
    ),
    "uploaded file": (
        [message("user", {"type": "input_file", "file_id": "file-passwd"})],
        f"{CONTENT}.file_data",
    ),
    "file scheme": (
        [message("user", {"type": "input_file", "file_url": "file:///etc/passwd"})],
        f"{CONTENT}.file_url",
    ),
    "file type": (
        [message("user", {"type": "input_file", "file_data": "data:audio/wav;base64,aGk="})],
        f"{CONTENT}.file_data",
    ),
    "image of the assistant": ([HI, message("assistant", IMAGE)], "input.1.content.0.type"),
    "image in a system prompt": ([message("system", IMAGE), HI], f"{CONTENT}.type"),
    "reference without an id": ([{"type": "item_reference"}], "input.0.id"),
    "call without an id": ([HI, {**call("a"), "call_id": None}], "input.1.call_id"),
    "call without a name": ([HI, {**call("a"), "name": ""}], "input.1.name"),
    "arguments an object": ([HI, {**call("a"), "arguments": {}}], "input.1.arguments"),
    "input an object": ([HI, {**patch("a", ""), "input": {}}], "input.1.input"),
    "output missing": ([HI, call("a"), {**output("a", 1), "output": None}], "input.2.output"),
    "output an object": ([HI, call("a"), output("a", {"content": "x"})], "input.2.output"),
    "output of a kind": (
        [HI, call("a"), output("a", [{"type": "passwd"}])],
        "input.2.output.0.type",
    ),
    "output without a call id": (
        [{"type": "function_call_output", "output": "1"}],
        "input.0.call_id",
    ),
    "output without a call": ([HI, said("x"), output("a", "1")], "input.2"),
    "call without an output": ([HI, call("a"), HI], "input.1"),
    "last is the assistant": ([HI, said("passwd")], "input.1.role"),
    "last is a reference": ([HI, reference("msg_1_0")], "input.1.role"),
    "blank": ([{"role": "user", "content": " \n"}], "input.0.content"),
    "nothing": ([], "input"),
}


@pytest.mark.parametrize("items, param", REFUSED.values(), ids=REFUSED)
def test_items_that_cannot_be_passed_on_are_refused(items: list[Any], param: str) -> None:
    error = refusal(*items)
    assert error.param == param
    assert error.message.startswith(f"{param}: ")
    assert "/etc/" not in error.message and "file-" not in error.message


def test_what_an_item_loses_is_told() -> None:
    sharp = {**IMAGE, "detail": "high"}
    named = {**HI, "name": "ann"}
    program = {**call("a"), "caller": {"type": "program", "caller_id": "p"}}
    done = {**output("a", "1"), "name": "double", "status": "completed", "mood": "good"}
    turn = parse(named, program, done, message("user", sharp))
    assert turn.ignored == (
        "input.caller",
        "input.content.detail",
        "input.mood",
        "input.name",
    )
