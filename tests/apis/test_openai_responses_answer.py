"""Answers of the Responses API, held against the reference event by event."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from openai.types.responses import Response, ResponseStreamEvent

from sessionbridge.apis.openai_responses.answer import reference
from sessionbridge.apis.openai_responses.request import ResponsesShape
from sessionbridge.errors import ApiFailed, BadRequest, BridgeError, Overloaded, PromptTooLong
from sessionbridge.model import (
    Finished,
    Message,
    Parameters,
    RedactedThinking,
    Said,
    Started,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingSignature,
    Tool,
    ToolCall,
    ToolInput,
    ToolUseBlock,
    TurnRequest,
    Usage,
)

SHAPE = ResponsesShape(clock=lambda: 1234.9)
STARTED = Started("msg_01ab", "claude-x", Usage(10, 1, 20, 30))
USAGE = {
    "input_tokens": 63,
    "input_tokens_details": {"cached_tokens": 31, "cache_write_tokens": 21},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 70,
}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "double", "parameters": {"type": "object"}, "strict": False},
    {"type": "custom", "name": "patch"},
    {
        "type": "namespace",
        "name": "math",
        "description": "d",
        "tools": [{"type": "function", "name": "square"}, {"type": "custom", "name": "prove"}],
    },
]
OFFERED = (
    Tool("double", "", {}),
    Tool("patch", "", {}, takes_text=True),
    Tool("math__square", "", {}, "square", "math"),
    Tool("math__prove", "", {}, "prove", "math", takes_text=True),
)
BASE: dict[str, Any] = {
    "id": "resp_sb01ab",
    "object": "response",
    "created_at": 1234,
    "status": "in_progress",
    "background": False,
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "model": "claude-x",
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": TOOLS,
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
}


def finished(stop_reason: str = "end_turn") -> Finished:
    return Finished("sid", ("e1",), stop_reason, Usage(11, 7, 21, 31), None)


def asked(*, stream: bool, display: Any = "summarized", **echo: Any) -> TurnRequest:
    thinking = Thinking(display=display) if display else None
    parameters = Parameters(tools=OFFERED, thinking=thinking)
    echo = {"tools": TOOLS, **echo}
    return TurnRequest("m", "", (), stream, parameters=parameters, echo=echo)


def encode(turn: TurnRequest, *deltas: Said, stop_reason: str = "end_turn") -> list[bytes]:
    encoder = SHAPE.encoder(turn)
    sent = [encoder.delta(delta) for delta in (STARTED, *deltas)]
    return [*sent, encoder.ping(), encoder.close(finished(stop_reason))]


def events_of(sent: list[bytes]) -> list[dict[str, Any]]:
    """The data of the events, whose names must be the types within."""
    found = []
    for block in b"".join(sent).decode().removesuffix("\n\n").split("\n\n"):
        if not block.startswith(":"):
            name, data = block.split("\n")
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            found.append(event)
    return found


def document_of(*deltas: Said, stop_reason: str = "end_turn") -> dict[str, Any]:
    *nothing, document = encode(asked(stream=False), *deltas, stop_reason=stop_reason)
    assert b"".join(nothing) == b""
    return dict(json.loads(document))


def output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def message(block: int, text: str | None, status: str = "completed") -> dict[str, Any]:
    return {
        "id": f"msg_01ab_{block}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if text is None else [output_text(text)],
    }


def call(block: int, arguments: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": f"fc_01ab_{block}",
        "type": "function_call",
        "status": status,
        "call_id": f"toolu_{block}",
        "name": "double",
        **more,
        "arguments": arguments,
    }


def custom(block: int, text: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": f"ctc_01ab_{block}",
        "type": "custom_tool_call",
        "status": status,
        "call_id": f"toolu_{block}",
        "name": "patch",
        **more,
        "input": text,
    }


def reasoning(block: int, *texts: str) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"id": f"rs_01ab_{block}", "type": "reasoning", "summary": summary}


def event(name: str, id_: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    item = {} if id_ is None else {"item_id": id_}
    return {"type": f"response.{name}", **item, "output_index": index, **fields}


def added(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return event("output_item.added", None, index, item=item)


def done(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return event("output_item.done", None, index, item=item)


def text_events(block: int, *pieces: str, index: int = 0) -> list[dict[str, Any]]:
    id_, text = f"msg_01ab_{block}", "".join(pieces)
    place: dict[str, Any] = {"id_": id_, "index": index, "content_index": 0}
    return [
        added(message(block, None, "in_progress"), index),
        event("content_part.added", **place, part=output_text("")),
        *(event("output_text.delta", **place, delta=piece, logprobs=[]) for piece in pieces),
        event("output_text.done", **place, text=text, logprobs=[]),
        event("content_part.done", **place, part=output_text(text)),
        done(message(block, text), index),
    ]


def call_events(block: int, *pieces: str, index: int = 0, **more: Any) -> list[dict[str, Any]]:
    id_, arguments = f"fc_01ab_{block}", "".join(pieces)
    return [
        added(call(block, "", "in_progress", **more), index),
        *(event("function_call_arguments.delta", id_, index, delta=piece) for piece in pieces),
        event("function_call_arguments.done", id_, index, arguments=arguments),
        done(call(block, arguments, **more), index),
    ]


def custom_events(block: int, text: str, index: int = 0, **more: Any) -> list[dict[str, Any]]:
    id_ = f"ctc_01ab_{block}"
    deltas = [event("custom_tool_call_input.delta", id_, index, delta=text)] if text else []
    return [
        added(custom(block, "", "in_progress", **more), index),
        *deltas,
        event("custom_tool_call_input.done", id_, index, input=text),
        done(custom(block, text, **more), index),
    ]


def reasoning_events(block: int, *pieces: str, index: int = 0) -> list[dict[str, Any]]:
    id_, text = f"rs_01ab_{block}", "".join(pieces)
    place: dict[str, Any] = {"id_": id_, "index": index, "summary_index": 0}
    part = {"type": "summary_text", "text": text}
    return [
        added(reasoning(block), index),
        event("reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""}),
        *(event("reasoning_summary_text.delta", **place, delta=piece) for piece in pieces),
        event("reasoning_summary_text.done", **place, text=text),
        event("reasoning_summary_part.done", **place, part=part),
        done(reasoning(block, text), index),
    ]


def called(block: int, *pieces: str, name: str = "double") -> list[Said]:
    return [ToolCall(block, f"toolu_{block}", name), *(ToolInput(block, piece) for piece in pieces)]


ODD = "a" + chr(0x2028) + "b\r\n\ndata: c" + chr(0x85) + "🙂"
ANSWERS: dict[str, tuple[list[Said], list[dict[str, Any]]]] = {
    "nothing": ([], []),
    "empty text": ([TextDelta(0, "")], []),
    "one text": (
        [TextDelta(0, "Hel"), TextDelta(0, ""), TextDelta(0, "lo")],
        text_events(0, "Hel", "lo"),
    ),
    "two texts": (
        [TextDelta(0, "a"), TextDelta(3, "b")],
        [*text_events(0, "a"), *text_events(3, "b", index=1)],
    ),
    "odd line ends": ([TextDelta(0, ODD)], text_events(0, ODD)),
    "looks like the end": ([TextDelta(0, "[DONE]")], text_events(0, "[DONE]")),
    "a call": (
        called(0, '{"n"', "", ": 1}"),
        call_events(0, '{"n"', ": 1}"),
    ),
    "a call without input": (called(0), call_events(0, "{}")),
    "a call nobody offered": (
        called(0, "{}", name="triple"),
        call_events(0, "{}", name="triple"),
    ),
    "a call in a namespace": (
        called(0, "{}", name="math__square"),
        call_events(0, "{}", name="square", namespace="math"),
    ),
    "a text and calls": (
        [TextDelta(0, "So:"), *called(1, '{"n": 1}'), *called(2, '{"n": 2}')],
        [
            *text_events(0, "So:"),
            *call_events(1, '{"n": 1}', index=1),
            *call_events(2, '{"n": 2}', index=2),
        ],
    ),
    "a call of a custom tool": (
        called(1, '{"input": "*** Begin', "\\n\\u00e4", '"}', name="patch"),
        custom_events(1, "*** Begin\nä"),
    ),
    "a call of a custom tool in a namespace": (
        called(1, '{"input": "x"}', name="math__prove"),
        custom_events(1, "x", name="prove", namespace="math"),
    ),
    "an empty text for a custom tool": (
        called(1, '{"input": ""}', name="patch"),
        custom_events(1, ""),
    ),
    "something else for a custom tool": (
        called(1, '{"text": "x"}', name="patch"),
        custom_events(1, '{"text": "x"}'),
    ),
    "a number for a custom tool": (
        called(1, '{"input": 5}', name="patch"),
        custom_events(1, '{"input": 5}'),
    ),
    "a list for a custom tool": (called(1, "[1]", name="patch"), custom_events(1, "[1]")),
    "thoughts": (
        [
            ThinkingDelta(0, "Hm"),
            ThinkingDelta(0, "m."),
            ThinkingSignature(0, "c2ln"),
            RedactedThinking(1, "eA=="),
            TextDelta(2, "Yes."),
        ],
        [*reasoning_events(0, "Hm", "m."), *text_events(2, "Yes.", index=1)],
    ),
    "thoughts that are kept from us": (
        [ThinkingDelta(0, ""), ThinkingSignature(0, "c2ln"), TextDelta(1, "Yes.")],
        text_events(1, "Yes."),
    ),
}


@pytest.mark.parametrize("deltas, between", ANSWERS.values(), ids=ANSWERS)
def test_the_events_are_those_of_the_reference(
    deltas: list[Said], between: list[dict[str, Any]]
) -> None:
    output = [e["item"] for e in between if e["type"] == "response.output_item.done"]
    end = {"status": "completed", "completed_at": 1234, "output": output, "usage": USAGE}
    expected = [
        {"type": "response.created", "response": BASE},
        {"type": "response.in_progress", "response": BASE},
        *between,
        {"type": "response.completed", "response": BASE | end},
    ]
    events = events_of(encode(asked(stream=True), *deltas))
    assert events == [{**e, "sequence_number": n} for n, e in enumerate(expected)]
    assert document_of(*deltas) == BASE | end


KINDS: dict[str, Any] = {
    kind.model_fields["type"].annotation.__args__[0]: kind
    for kind in get_args(get_args(ResponseStreamEvent)[0])
}


@pytest.mark.parametrize("deltas", [deltas for deltas, _ in ANSWERS.values()], ids=ANSWERS)
def test_the_events_have_all_fields_of_the_official_types(deltas: list[Said]) -> None:
    """The client builds its models leniently; this check is strict."""
    for event in events_of(encode(asked(stream=True), *deltas)):
        KINDS[event["type"]].model_validate(event)
    Response.model_validate(document_of(*deltas))


def test_the_bytes_are_those_of_the_reference() -> None:
    first, *_, last = encode(asked(stream=True, display=None, tools=[]), TextDelta(0, "Hi"))
    assert first.startswith(b'event: response.created\ndata: {"type": "response.created", ')
    assert last.endswith(b', "sequence_number": 8}\n\n')
    sent = encode(asked(stream=True), TextDelta(0, "Hi"), TextDelta(0, " you"))
    assert sent[2] == (
        b"event: response.output_text.delta\n"
        b'data: {"type": "response.output_text.delta", "item_id": "msg_01ab_0",'
        b' "output_index": 0, "content_index": 0, "delta": " you", "logprobs": [],'
        b' "sequence_number": 5}\n\n'
    )


@pytest.mark.parametrize("display", [None, "omitted"])
def test_thoughts_are_shown_only_where_a_summary_was_asked_for(display: Any) -> None:
    deltas: list[Said] = [ThinkingDelta(0, "Hm"), TextDelta(1, "Yes.")]
    for stream in (True, False):
        sent = b"".join(encode(asked(stream=stream, display=display), *deltas))
        assert b"Hm" not in sent and b'"rs_' not in sent
        assert b'"msg_01ab_1"' in sent


REASONS = {
    "end_turn": None,
    "stop_sequence": None,
    "tool_use": None,
    "pause_turn": None,
    "something_new": None,
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}


@pytest.mark.parametrize("stop_reason, reason", REASONS.items())
def test_an_answer_that_was_cut_is_incomplete(stop_reason: str, reason: str | None) -> None:
    deltas: list[Said] = [TextDelta(0, "a"), *called(1, '{"n')]
    *_, item, last = events_of(encode(asked(stream=True), *deltas, stop_reason=stop_reason))
    status = "incomplete" if reason else "completed"
    assert last["type"] == f"response.{status}"
    response = last["response"]
    assert response["status"] == status
    assert response["incomplete_details"] == ({"reason": reason} if reason else None)
    assert response["completed_at"] == (None if reason else 1234)
    assert response["usage"] == USAGE
    # Only what was being written is cut.
    assert response["output"] == [message(0, "a"), call(1, '{"n', status)]
    assert item["item"] == response["output"][1]
    assert document_of(*deltas, stop_reason=stop_reason) == response


def test_a_text_for_a_custom_tool_that_was_cut_is_told_as_it_is() -> None:
    response = document_of(*called(0, '{"input": "*** Be', name="patch"), stop_reason="max_tokens")
    assert response["output"] == [custom(0, '{"input": "*** Be', "incomplete")]


def test_a_ping_is_a_comment() -> None:
    assert SHAPE.encoder(asked(stream=True)).ping() == b": ping\n\n"
    assert SHAPE.encoder(asked(stream=False)).ping() == b""


def test_the_response_repeats_the_request() -> None:
    request = {
        "model": "m",
        "input": "Hi",
        "stream": True,
        "instructions": "Be brief.",
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "store": False,
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "previous_response_id": "resp_00",
        "tool_choice": "required",
        "max_output_tokens": 99,
    }
    turn = SHAPE.parse(json.dumps(request).encode())
    repeated = {name: request[name] for name in turn.echo} | {
        "reasoning": {"effort": "low", "summary": None},
        "text": {"format": {"type": "json_object"}, "verbosity": "medium"},
    }
    assert len(repeated) == 9
    for event in events_of(encode(turn, TextDelta(0, "{}"))):
        if "response" in event:
            response = event["response"]
            assert response | repeated == response
            assert response.keys() == BASE.keys()


def test_what_a_client_sends_back_is_what_was_said() -> None:
    deltas: list[Said] = [
        ThinkingDelta(0, "Hm"),
        TextDelta(1, "So:"),
        *called(2, '{"n": 1}', name="math__square"),
        *called(3, '{"input": "x\\n"}', name="patch"),
        *called(4),
    ]
    output = document_of(*deltas, stop_reason="tool_use")["output"]
    results: list[dict[str, Any]] = [
        {"type": f"{kind}_output", "call_id": f"toolu_{n}", "output": "1"}
        for n, kind in ((2, "function_call"), (3, "custom_tool_call"), (4, "function_call"))
    ]
    items = [{"role": "user", "content": "Hi"}, *output, *results]
    turn = SHAPE.parse(json.dumps({"model": "m", "input": items}).encode())
    given: list[tuple[str, dict[str, Any]]] = [
        ("math__square", {"n": 1}),
        ("patch", {"input": "x\n"}),
        ("double", {}),
    ]
    uses: list[ToolUseBlock] = [
        {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": input_}
        for n, (name, input_) in enumerate(given, start=2)
    ]
    assert turn.messages[1] == Message("assistant", ({"type": "text", "text": "So:"}, *uses))
    assert turn.ignored == ()


def test_the_id_of_an_item_leads_back_to_its_place() -> None:
    deltas = [ThinkingDelta(0, "Hm"), TextDelta(2, "a"), *called(3), *called(11, name="patch")]
    ids = [item["id"] for item in document_of(*deltas)["output"]]
    assert [reference(id_) for id_ in ids] == [("msg_01ab", block) for block in (0, 2, 3, 11)]


@pytest.mark.parametrize(
    "id_, place",
    [
        ("msg_01ab_0", ("msg_01ab", 0)),
        ("fc_01_ab_12", ("msg_01_ab", 12)),
        ("rs_01ab_3", ("msg_01ab", 3)),
        ("ctc_01ab_3", ("msg_01ab", 3)),
        ("msg_68af4030592c81938ec0a5fbab4a3e9f", None),
        ("msg_01a2010f-0cbd-7dc2-b0f1-9d533d9cf435", None),
        ("resp_01ab_0", None),
        ("msg__0", None),
        ("msg_01ab_-1", None),
        ("msg_01ab_1 ", None),
        ("", None),
    ],
)
def test_only_ids_of_ours_lead_anywhere(id_: str, place: tuple[str, int] | None) -> None:
    assert reference(id_) == place


ERRORS: list[tuple[BridgeError, str, str, str | None]] = [
    (ApiFailed(529, "busy"), "server_error", "server_error", None),
    (ApiFailed(429, "slow"), "rate_limit_exceeded", "rate_limit_error", None),
    (Overloaded("full"), "rate_limit_exceeded", "rate_limit_error", None),
    (ApiFailed(402, "pay"), "insufficient_quota", "insufficient_quota", None),
    (PromptTooLong("long"), "context_length_exceeded", "invalid_request_error", None),
    (BadRequest("bad", param="input.0"), "invalid_prompt", "invalid_request_error", "input.0"),
]


@pytest.mark.parametrize("error, code, kind, param", ERRORS)
@pytest.mark.parametrize("begun", [True, False])
def test_an_error_within_the_stream_ends_the_response(
    error: BridgeError, code: str, kind: str, param: str | None, begun: bool
) -> None:
    encoder = SHAPE.encoder(asked(stream=True))
    sent = [encoder.delta(STARTED), encoder.delta(TextDelta(0, "a"))] if begun else []
    sent += [encoder.delta(TextDelta(1, "b"))] if begun else []
    before = len(events_of(sent)) if begun else 0
    told, failed = events_of([encoder.error(error)])
    what = {"code": code, "message": error.message, "param": param}
    assert told == {
        "type": "error",
        **what,
        "error": {**what, "type": kind},
        "sequence_number": before,
    }
    assert failed["type"] == "response.failed"
    assert failed["sequence_number"] == before + 1
    response = failed["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": code, "message": error.message}
    assert response["id"] == ("resp_sb01ab" if begun else "resp_0")
    assert response["model"] == ("claude-x" if begun else "m")
    assert response["output"] == ([message(0, "a")] if begun else [])
    assert response.keys() == BASE.keys()


def test_an_error_instead_of_a_document_is_an_error_body() -> None:
    error = ApiFailed(529, "busy")
    assert SHAPE.encoder(asked(stream=False)).error(error) == SHAPE.error_body(error)
