"""Requests of the Responses API: those of real clients, and every rule in a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.apis.openai_responses.request import ResponsesShape
from sessionbridge.errors import BadRequest
from sessionbridge.model import Message, Parameters, TextBlock, Thinking, TurnRequest

CAPTURED = Path(__file__).parent.parent / "captured"
SHAPE = ResponsesShape()
HI = {"role": "user", "content": "Hi"}


def parse(*items: Any, **fields: Any) -> TurnRequest:
    return SHAPE.parse(json.dumps({"model": "m", "input": items, **fields}).encode())


def refusal(*items: Any, **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(*items, **fields)
    return caught.value


def text(words: str) -> TextBlock:
    return {"type": "text", "text": words}


def restored(tools: list[Any]) -> list[Any]:
    """A recording has one tool whole and names all in a sentence: here they are again, of the kinds
    that Codex has by these names."""
    first, names = tools[0], tools[1].partition(": ")[2].split(", ")
    inner = {"type": "function", "name": "spawn_agent", "description": "", "strict": False}
    others = {
        "web_search": {"type": "web_search", "external_web_access": False},
        "multi_agent_v1": {
            "type": "namespace",
            "name": "multi_agent_v1",
            "description": "Tools for agents.",
            "tools": [inner],
        },
    }
    return [others.get(name, {**first, "name": name}) for name in names]


def captured() -> Iterator[Any]:
    for path in sorted(CAPTURED.glob("*.json")):
        record = json.loads(path.read_text())
        tools = record["turn_1"]["body"].get("tools")
        sides = {f"side {i}": side for i, side in enumerate(record.get("side_calls", []))}
        for key, request in {**record, **sides}.items():
            if isinstance(request, dict) and request.get("path") == "/v1/responses":
                body = request["body"]
                if "tools" in body:  # in a later turn the sentence is cut short
                    body |= {"tools": restored(tools)}
                yield pytest.param(path.stem, body, id=f"{path.stem} {key}")


RECORDED = list(captured())


@pytest.mark.parametrize("client, request_body", RECORDED)
def test_requests_of_real_clients_are_understood(client: str, request_body: dict[str, Any]) -> None:
    turn = SHAPE.parse(json.dumps(request_body).encode())
    sent = request_body["input"]
    assert turn.model == request_body["model"]
    assert turn.stream is True
    assert turn.store is request_body.get("store", True)
    assert turn.parameters.max_tokens == request_body.get("max_output_tokens")
    assert turn.parameters.thinking is None
    instructed = [item for item in sent if item.get("role") in ("system", "developer")]
    assert bool(turn.system) is bool(instructed)
    results = [b for m in turn.messages for b in m.blocks if b["type"] == "tool_result"]
    outputs = [item for item in sent if item.get("type") == "function_call_output"]
    assert [block["content"] for block in results] == [item["output"] for item in outputs]
    assert turn.ignored == (("tools.web_search",) if "codex" in client else ())


def test_all_clients_that_speak_this_api_are_recorded() -> None:
    clients = {"codex", "llm", "openclaw", "opencode", "pysdk-langchain"}
    assert {param.values[0] for param in RECORDED} == {f"{name}-responses" for name in clients}


def test_codex_is_understood_to_the_last_field() -> None:
    bodies = [param.values[1] for param in RECORDED if param.values[0] == "codex-responses"]
    first, second = (SHAPE.parse(json.dumps(body).encode()) for body in bodies)
    assert [message.role for message in first.messages] == ["user", "user"]
    assert [message.role for message in second.messages] == ["user", "user", "assistant", "user"]
    assert second.messages[3].blocks == (text("What is my name?"),)
    assert first.system == "\n\n".join(
        part["text"]
        for item in bodies[0]["input"]
        if item["role"] == "developer"
        for part in item["content"]
    )
    names = ["exec_command", "write_stdin", "request_user_input", "view_image"]
    names += ["multi_agent_v1__spawn_agent", "get_goal", "create_goal", "update_goal"]
    assert [tool.name for tool in first.parameters.tools] == names
    assert first.store is False and first.previous is None


def test_tools_that_were_called_come_back_as_one_message_each_way() -> None:
    body = next(
        param.values[1]
        for param in RECORDED
        if param.values[0] == "pysdk-langchain-responses" and len(param.values[1]["input"]) > 1
    )
    turn = SHAPE.parse(json.dumps(body).encode())
    assert [(m.role, [b["type"] for b in m.blocks]) for m in turn.messages] == [
        ("user", ["text"]),
        ("assistant", ["text"]),
        ("user", ["text"]),
        ("assistant", ["text", "tool_use"]),
        ("user", ["tool_result"]),
        ("assistant", ["text"]),
        ("user", ["text"]),
        ("assistant", ["text", "tool_use", "tool_use"]),
        ("user", ["tool_result", "tool_result"]),
        ("assistant", ["text"]),
        ("user", ["text"]),
    ]


def test_a_string_is_a_message_of_the_user() -> None:
    turn = SHAPE.parse(b'{"model": "m", "input": "Hi"}')
    assert turn == TurnRequest(
        "m", "", (Message("user", (text("Hi"),)),), stream=False, echo={}, store=True
    )


@pytest.mark.parametrize("given, stored", [(None, True), (True, True), (False, False)])
def test_a_response_is_kept_unless_the_client_says_no(given: Any, stored: bool) -> None:
    assert parse(HI, store=given).store is stored


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"input": None}, "input"),
        ({"input": " "}, "input"),
        ({"input": 5}, "input"),
        ({"input": {"role": "user"}}, "input"),
        ({"model": None}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"store": "yes"}, "store"),
        ({"instructions": ["x"]}, "instructions"),
        ({"background": True, "store": False}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"previous_response_id": " "}, "previous_response_id"),
        ({"previous_response_id": "01"}, "previous_response_id"),
        ({"previous_response_id": "resp_"}, "previous_response_id"),
        (
            {"previous_response_id": "resp_1", "conversation": "conv_1"},
            "previous_response_id",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "schema": []}}}, "text.format.schema"),
        ({"text": []}, "text"),
        ({"tools": {}}, "tools"),
    ],
)
def test_parameters_that_cannot_be_kept_are_refused(fields: dict[str, Any], param: str) -> None:
    assert refusal(HI, **fields).param == param


EFFORTS = ["low", "medium", "high", "xhigh", "max"]


@pytest.mark.parametrize("effort", [None, "none", "minimal", *EFFORTS])
@pytest.mark.parametrize("word", ["summary", "generate_summary"])
@pytest.mark.parametrize("summary", [None, "auto", "concise", "detailed"])
def test_the_model_thinks_where_effort_is_asked_and_shows_it_where_a_summary_is(
    effort: Any, word: str, summary: Any
) -> None:
    turn = parse(HI, reasoning={"effort": effort, word: summary})
    shown = Thinking(display="summarized" if summary else "omitted")
    asked = Parameters(thinking=shown, effort=effort) if effort in EFFORTS else Parameters()
    assert turn.parameters == asked
    assert turn.ignored == ()


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    "given, schema",
    [
        (None, None),
        ({}, None),
        ({"format": None}, None),
        ({"format": {"type": "text"}}, None),
        ({"format": {"type": "json_object"}}, {"type": "object"}),
        (
            {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}},
            SCHEMA,
        ),
    ],
)
def test_the_answer_is_to_have_a_form(given: Any, schema: Any) -> None:
    turn = parse(HI, text=given)
    assert turn.parameters == Parameters(schema=schema)
    assert turn.ignored == ()


def test_the_answer_is_to_have_a_length() -> None:
    assert parse(HI, max_output_tokens=99).parameters == Parameters(max_tokens=99)


EFFECTLESS = [
    "access_programs",
    "background_options",
    "context_management",
    "image",
    "include",
    "moderation",
    "parallel_tool_calls",
    "service_tier",
    "temperature",
    "top_logprobs",
    "top_p",
    "truncation",
]


def test_parameters_the_bridge_does_not_obey_are_told() -> None:
    silent = {"user": "u", "metadata": {"a": "b"}, "prompt_cache_key": "k", "store": True}
    silent |= {"safety_identifier": "s", "stream_options": {"include_obfuscation": True}}
    silent |= {"client_metadata": {"session_id": "s"}, "conversation": {"id": "c"}}
    silent |= {"max_tool_calls": 3, "prompt_cache_retention": "24h"}
    asked = dict.fromkeys(EFFECTLESS, "x")
    assert parse(HI, **silent, **asked).ignored == tuple(EFFECTLESS)


def test_defaults_of_the_api_ask_for_nothing() -> None:
    defaults: dict[str, Any] = {
        "background": False,
        "include": ["reasoning.encrypted_content"],
        "parallel_tool_calls": True,
        "prompt": None,
        "reasoning": {"effort": None, "context": "auto", "mode": "standard"},
        "service_tier": "auto",
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "truncation": "disabled",
    }
    assert parse(HI, **defaults).ignored == ()


def test_what_is_asked_within_a_parameter_is_told_by_its_place() -> None:
    format_ = {"type": "json_schema", "name": "x", "schema": {}, "description": "An answer."}
    turn = parse(
        HI,
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        reasoning={"mode": "pro", "context": "all_turns"},
        text={"format": format_, "verbosity": "low"},
        tool_choice="required",
    )
    assert turn.ignored == (
        "include",
        "reasoning.context",
        "reasoning.mode",
        "text.format.description",
        "text.verbosity",
        "tool_choice",
    )


def test_what_the_response_repeats_is_what_was_asked() -> None:
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 99,
        "metadata": {"a": "b"},
        "reasoning": {"effort": "low"},
        "store": False,
        "text": {"verbosity": "low"},
        "tool_choice": "none",
        "tools": [{"type": "web_search"}],
        "user": "u",
    }
    turn = parse(HI, **asked, stream=True, temperature=None, include=["x"])
    assert turn.echo == asked


@pytest.mark.parametrize("given", ["conv_1", {"id": "conv_1"}])
def test_the_response_tells_its_conversation_as_an_object(given: Any) -> None:
    assert parse(HI, conversation=given).echo == {"conversation": {"id": "conv_1"}}
