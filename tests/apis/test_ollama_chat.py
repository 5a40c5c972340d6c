"""Ollama's chat API: what a request means, and what the official client reads of an answer."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ollama
import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.errors import BadRequest, ClaudeFailed
from sessionbridge.model import (
    Finished,
    Parameters,
    Said,
    Started,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolInput,
    TurnRequest,
    Usage,
    parts_of,
)

SHAPE = SHAPES["ollama"]
HI = {"role": "user", "content": "Hi"}
PIXEL = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
STARTED = Started("msg_01ab", "claude-x", Usage(11, 1, 21, 31))


def parse(*messages: Any, **fields: Any) -> TurnRequest:
    body = {"model": "llama3.2", "messages": [*messages] or [HI], **fields}
    return SHAPE.parse(json.dumps(body).encode())


def refused(*messages: Any, **fields: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        parse(*messages, **fields)
    return str(caught.value.param)


def call(name: str, id_: str | None = None, **arguments: Any) -> dict[str, Any]:
    given = {"id": id_} if id_ else {}
    return {**given, "function": {"name": name, "arguments": arguments}}


# --- requests -----------------------------------------------------------------------------------


def test_images_by_what_their_bytes_are() -> None:
    kinds = {PIXEL: "png", "/9j/4AAQ": "jpeg", "R0lGODlh": "gif", "UklGRiQA": "webp"}
    said = {"role": "user", "content": "What?", "images": list(kinds)}
    (message,) = parse(said).messages
    told = [block["source"] for block in message.blocks if block["type"] == "image"]
    assert [(source["data"], source["media_type"]) for source in told] == [
        (data, f"image/{kind}") for data, kind in kinds.items()
    ]
    (message,) = parse({"role": "user", "images": [PIXEL]}).messages
    assert [block["type"] for block in message.blocks] == ["image"]
    assert refused({**HI, "images": ["AAAA"]}) == "messages.0.images.0"
    assert refused({**HI, "images": [PIXEL, 1]}) == "messages.0.images.1"


def test_calls_without_ids_are_answered_by_name_and_then_in_order() -> None:
    turn = parse(
        HI,
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [call("a", at="x"), call("b"), call("a")],
        },
        {"role": "tool", "tool_name": "b", "content": "B"},
        {"role": "tool", "tool_name": "a", "content": "A1"},
        {"role": "tool", "content": "A2"},
        {"role": "assistant", "content": "So.", "tool_calls": [call("b")]},
        {"role": "tool", "name": "other", "content": ""},
    )
    first, second, third = (message.blocks for message in turn.messages[1:4])
    assert [(b["id"], b["name"], b["input"]) for b in first if b["type"] == "tool_use"] == [
        ("call_1", "a", {"at": "x"}),
        ("call_2", "b", {}),
        ("call_3", "a", {}),
    ]
    told = [(b["tool_use_id"], parts_of(b)) for b in second if b["type"] == "tool_result"]
    assert [(id_, content[0]["text"]) for id_, content in told] == [
        ("call_2", "B"),
        ("call_1", "A1"),
        ("call_3", "A2"),
    ]
    assert [b["id"] for b in third if b["type"] == "tool_use"] == ["call_4"]
    assert turn.messages[4].results == ["call_4"]


def test_calls_with_ids_are_answered_by_them() -> None:
    made = [call("a", "toolu_1"), call("a", "toolu_2"), call("a")]
    turn = parse(
        HI,
        {"role": "assistant", "tool_calls": made},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "2"},
        {"role": "tool", "tool_name": "a", "content": "1"},
        {"role": "tool", "tool_name": "a", "content": "3"},
    )
    assert turn.messages[2].results == ["toolu_2", "toolu_1", "call_1"]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([HI, {"role": "tool", "content": "x"}], "messages.1.role"),
        ([HI, {"role": "assistant", "tool_calls": [call("a")]}, HI], "messages.1"),
        ([HI, {"role": "assistant", "tool_calls": [{}]}, HI], "messages.1.tool_calls.0.function"),
        (
            [
                HI,
                {"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": ""}}]},
            ],
            "messages.1.tool_calls.0.function.arguments",
        ),
        ([{"role": "developer", "content": "x"}], "messages.0.role"),
    ],
)
def test_messages_that_break_a_rule(messages: list[Any], param: str) -> None:
    assert refused(*messages) == param


def test_what_was_thought_is_left_out_and_unknown_fields_are_told() -> None:
    turn = parse(HI, {"role": "assistant", "content": "Yes.", "thinking": "hm"}, HI)
    assert turn.ignored == () and len(turn.messages[1].blocks) == 1
    assert parse({**HI, "name": "Al", "mood": 1}).ignored == ("messages.mood", "messages.name")


def test_tools() -> None:
    function = {"name": "look", "description": "Looks.", "parameters": SCHEMA, "strict": True}
    turn = parse(tools=[{"type": "function", "function": function}, {"function": {"name": "b"}}])
    assert turn.parameters.tools == (
        Tool("look", "Looks.", SCHEMA),
        Tool("b", "", {"type": "object", "properties": {}}),
    )
    assert turn.ignored == ("tools.strict",)
    assert refused(tools=[{"type": "custom", "function": {"name": "a"}}]) == "tools.0.type"
    assert refused(tools=[{"function": {"name": "a b"}}]) == "tools.0.function.name"


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({}, Parameters()),
        ({"think": False, "format": "", "options": {}}, Parameters()),
        ({"think": True}, Parameters(thinking=Thinking())),
        ({"think": "high"}, Parameters(thinking=Thinking(), effort="high")),
        ({"format": "json"}, Parameters(schema={"type": "object"})),
        ({"format": SCHEMA}, Parameters(schema=SCHEMA)),
        ({"options": {"num_predict": 50}}, Parameters(max_tokens=50)),
        ({"options": {"num_predict": -1}}, Parameters()),
        ({"options": {"num_predict": 0}}, Parameters()),
    ],
)
def test_how_the_answer_is_wanted(fields: dict[str, Any], parameters: Parameters) -> None:
    turn = parse(**fields)
    assert turn.parameters == parameters and turn.ignored == ()


def test_options() -> None:
    assert parse(options={"stop": ["a", "b"]}).stop == ("a", "b")
    assert parse(options={"stop": "a"}).stop == ("a",)
    loading = {"num_ctx": 8192, "num_gpu": 1, "num_thread": 4, "use_mmap": True, "numa": False}
    told = parse(options={**loading, "temperature": 0, "seed": 1}, keep_alive="5m").ignored
    assert told == ("options.seed", "options.temperature")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"think": "hard"}, "think"),
        ({"think": 1.5}, "think"),
        ({"format": "xml"}, "format"),
        ({"format": []}, "format"),
        ({"options": []}, "options"),
        ({"options": {"num_predict": "5"}}, "options.num_predict"),
        ({"options": {"stop": 1}}, "options.stop"),
        ({"options": {"stop": [""]}}, "options.stop.0"),
    ],
)
def test_parameters_that_cannot_be_obeyed(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == param


# --- answers ------------------------------------------------------------------------------------


def finished(stop_reason: str = "end_turn", **more: Any) -> Finished:
    return Finished("sid", ("e1",), stop_reason, Usage(11, 7, 21, 31), None, **more)


def answered(
    deltas: list[Said], last: Finished, *, stream: bool, think: bool = True
) -> list[ollama.ChatResponse]:
    """As the official client reads it."""
    seconds = iter(range(1000))
    shape = type(SHAPE)(lambda: 1_700_000_000 + next(seconds))  # type: ignore[call-arg]
    turn = TurnRequest("m", "", (), stream, Parameters(thinking=Thinking() if think else None))
    encoder = shape.encoder(turn)
    chunks = [*map(encoder.delta, [STARTED, *deltas]), encoder.ping(), encoder.close(last)]
    headers = {"content-type": encoder.content_type}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, content=b"".join(chunks))

    with ollama.Client(transport=httpx.MockTransport(answer)) as client:
        if stream:
            return list(client.chat("m", [HI], stream=True))
        return [client.chat("m", [HI])]


DELTAS: list[Said] = [
    ThinkingDelta(0, "hm"),
    TextDelta(1, "Hel"),
    TextDelta(1, "lo"),
    ToolCall(2, "toolu_1", "look"),
    ToolInput(2, '{"at": '),
    ToolInput(2, '"é"}'),
    ToolCall(3, "toolu_2", "other"),
]


@pytest.mark.parametrize("think", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_the_official_client_reads_all_of_it(stream: bool, think: bool) -> None:
    parts = answered(DELTAS, finished("tool_use"), stream=stream, think=think)
    assert "".join(part.message.content or "" for part in parts) == "Hello"
    thoughts = "".join(part.message.thinking or "" for part in parts)
    assert thoughts == ("hm" if think else "")
    made = [one.function for part in parts for one in part.message.tool_calls or ()]
    assert [(f.name, f.arguments) for f in made] == [("look", {"at": "é"}), ("other", {})]
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    last = parts[-1]
    assert (last.model, last.done_reason) == ("claude-x", "stop")
    assert (last.prompt_eval_count, last.eval_count) == (63, 7)
    assert last.created_at is not None and last.created_at.startswith("2023-11-14T22:")
    assert last.total_duration and last.prompt_eval_duration and last.eval_duration
    assert last.total_duration >= last.prompt_eval_duration + last.eval_duration > 10**9


def test_a_call_is_told_as_soon_as_it_is_whole() -> None:
    encoder = SHAPE.encoder(TurnRequest("m", "", (), True))
    for delta in (STARTED, *DELTAS[:-1]):
        assert b"tool_calls" not in encoder.delta(delta)
    told = json.loads(encoder.delta(DELTAS[-1]))["message"]["tool_calls"]
    assert told == [
        {"id": "toolu_1", "function": {"index": 0, "name": "look", "arguments": {"at": "é"}}}
    ]
    assert encoder.close(finished("tool_use")).count(b"tool_calls") == 1


@pytest.mark.parametrize(
    ("stop_reason", "done_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_why_it_ended(stop_reason: str, done_reason: str, stream: bool) -> None:
    *_, last = answered([TextDelta(0, "x")], finished(stop_reason), stream=stream)
    assert last.done_reason == done_reason


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_is_told_in_words(stream: bool) -> None:
    details = {"type": "refusal", "explanation": "No harm, please."}
    parts = answered([], finished("refusal", stop_details=details), stream=stream)
    assert "".join(part.message.content or "" for part in parts) == "No harm, please."


def test_an_error_within_a_stream_is_one_to_the_client() -> None:
    encoder = SHAPE.encoder(TurnRequest("m", "", (), True))
    chunks = [encoder.delta(STARTED), encoder.delta(TextDelta(0, "Hel"))]
    chunks.append(encoder.error(ClaudeFailed("It has ended.")))
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=b"".join(chunks)))
    with ollama.Client(transport=transport) as client:
        heard = ""
        with pytest.raises(ollama.ResponseError, match=r"It has ended\."):
            for part in client.chat("m", [HI], stream=True):
                heard += part.message.content or ""
        assert heard == "Hel"
