"""Requests and answers of all three APIs are read as people read them, whatever the bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionbridge.apis import SHAPES
from sessionbridge.model import TextDelta, Usage, parts_of
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.traffic.reading import Reading, api_of, read
from sessionbridge.traffic.text import conversation, folded
from tests.apis.test_api_shapes import ERRORS
from tests.support.recordings import without_notes
from tests.support.spoken import Way, assistant, calls, image, result, text, user
from tests.support.traffic_fixtures import (
    DELTAS,
    RECORDED,
    STOPS,
    TEXT,
    USAGES,
    answer_blocks,
    confused,
    encoded,
    encoder,
    events,
    read_stream,
)

APIS = pytest.mark.parametrize("api", SHAPES)


def text_of(reading: Reading) -> str:
    return "".join(block["text"] for block in reading.answer if block["type"] == "text")


def test_recordings_of_all_apis_exist() -> None:
    found = [api_of(recorded.values[0]["path"]) for recorded in RECORDED]
    assert len(found) >= 28 and set(found) == set(SHAPES)


@pytest.mark.parametrize("sent", RECORDED)
def test_recorded_requests_read_as_the_bridge_understands_them(sent: dict[str, Any]) -> None:
    api, body = api_of(sent["path"]), json.dumps(without_notes(sent["body"])).encode()
    assert api is not None
    turn, reading = SHAPES[api].parse(body), read(api, body, None, "")
    assert reading.unread == ()
    assert (reading.model, reading.system) == (turn.model, turn.system)
    assert [link.hash for link in chain(reading.messages)] == [
        link.hash for link in chain(turn.messages)
    ]
    assert set(reading.tools) >= {tool.name for tool in turn.parameters.tools}
    assert reading.answer == () and reading.usage is None


CALLING = assistant(
    "I look", {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "é"}}
)
TALK = (
    user("What is this?", image()),
    CALLING,
    user(result(calls(CALLING)[0], "A pixel"), text("go on")),
)


@pytest.mark.parametrize("way", [Way("messages"), Way("messages", cut="split"), Way("chat")])
def test_calls_results_and_images(way: Way) -> None:
    reading = read(way.api, way.body(TALK, "Be brief."), None, "")
    assert [link.hash for link in chain(reading.messages)] == [link.hash for link in chain(TALK)]
    assert (reading.system, reading.unread) == ("Be brief.", ())


@APIS
@pytest.mark.parametrize("stream", [True, False])
def test_our_own_answers(api: str, stream: bool) -> None:
    reading = read(api, None, encoded(api, stream=stream), "whatever")
    assert reading.answer == answer_blocks(api)
    assert (reading.model, reading.stop) == ("claude-x", STOPS[api])
    assert reading.usage == USAGES[api]
    assert (reading.error, reading.unread) == (None, ())


@APIS
def test_an_answer_cut_off_at_any_byte_is_read_up_to_there(api: str) -> None:
    stream = encoded(api, stream=True)
    known, cut_events = 0, 0
    for end in range(len(stream)):
        reading = read_stream(api, stream[:end])
        said = text_of(reading)
        assert TEXT.startswith(said) and len(said) >= known
        known, cut_events = len(said), cut_events + bool(reading.unread)
    assert known == len(TEXT) and cut_events


@pytest.mark.parametrize("api", [api for api in SHAPES if api != "ollama"])
def test_a_call_that_was_cut_off_tells_what_is_there(api: str) -> None:
    """Ollama's are told in one piece."""
    stream = encoder(api, stream=True)
    sent = b"".join(map(stream.delta, DELTAS[:-2]))
    assert read_stream(api, sent).answer[-1]["input"] == {}
    cut = sent + stream.delta(type(DELTAS[-2])(2, '"ab'))  # type: ignore[call-arg, arg-type]
    assert read_stream(api, cut).answer[-1]["input"] in ({}, {"at": "ab"})


@APIS
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_before_and_within_a_stream(api: str, error: Any) -> None:
    body = SHAPES[api].error_body(error)
    before = read(api, None, body, "application/json")
    stream = encoder(api, stream=True)
    begun = b"".join(map(stream.delta, DELTAS[:8]))
    within = read_stream(api, begun + stream.error(error))
    told = json.loads(body)["error"]
    kind = "" if api == "ollama" else f"{told['type']}: "
    assert before.error == within.error == f"{kind}{error.message}"
    assert before.answer == () and TEXT.startswith(text_of(within)) and text_of(within)
    assert before.unread == within.unread == ()


@pytest.mark.parametrize(
    ("start", "piece", "whole"),
    [
        ({"type": "text", "text": None}, {"type": "text_delta", "text": "Hi"}, {"text": "Hi"}),
        ({"type": "text"}, {"type": "text_delta", "text": "Hi"}, {"text": "Hi"}),
        (
            {"type": "thinking", "thinking": None},
            {"type": "thinking_delta", "thinking": "Hm"},
            {"thinking": "Hm"},
        ),
        (
            {"type": "tool_use", "id": "c", "name": "f", "input": None},
            {"type": "input_json_delta", "partial_json": ""},
            {"input": {}},
        ),
    ],
)
def test_a_block_may_begin_with_nothing(
    start: dict[str, Any], piece: dict[str, Any], whole: dict[str, Any]
) -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": piece},
    ]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    reading = read("messages", None, stream, "")
    assert (reading.answer, reading.unread) == ((start | whole,), ())


def test_usage_of_the_messages_api_comes_in_two_parts() -> None:
    start = {"input_tokens": 10, "cache_read_input_tokens": 30, "output_tokens": 1}
    stream = events(
        {"type": "message_start", "message": {"model": "m", "usage": start}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 7},
        },
    )
    assert read_stream("messages", stream).usage == Usage(10, 7, 0, 30)


PDF = "data:application/pdf;base64,JVBERg=="
FILES = [
    pytest.param(
        "messages",
        {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}, "title": "A"},
        "[document, https://x/a.pdf, A]",
    ),
    pytest.param(
        "messages",
        {"type": "document", "source": {"type": "text", "data": "words"}},
        "[document, 5 B]",
    ),
    pytest.param(
        "messages", {"type": "image", "source": {"type": "file", "file_id": "f1"}}, "[image, f1]"
    ),
    pytest.param(
        "messages",
        {"type": "document", "source": {"type": "content", "content": []}},
        "[document, as text]",
    ),
    pytest.param("messages", {"type": "redacted_thinking", "data": "x"}, "(thinking)\n> not shown"),
    pytest.param(
        "chat", {"type": "image_url", "image_url": {"url": "https://x/a.png"}}, "[image, https://x/"
    ),
    pytest.param(
        "chat",
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        "[application/pdf, 6 B, a.pdf]",
    ),
    pytest.param("chat", {"type": "file", "file": {"file_id": "f1"}}, "[document, f1]"),
    pytest.param("chat", {"type": "refusal", "refusal": "No."}, "No."),
    pytest.param(
        "chat", {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, "> hm"
    ),
    pytest.param(
        "responses",
        {"type": "input_image", "image_url": "data:image/PNG;base64," + "A" * 4_000_000},
        "[image/png, 3.0 MB]",
    ),
    pytest.param("responses", {"type": "input_image", "file_id": "f1"}, "[image, f1]"),
    pytest.param(
        "responses",
        {"type": "input_file", "file_url": "https://x/a.pdf", "filename": "A"},
        "[document, https://x/a.pdf, A]",
    ),
    pytest.param("responses", {"type": "input_file", "file_id": "f1"}, "[document, f1]"),
    pytest.param("responses", {"type": "refusal", "refusal": "No."}, "No."),
    pytest.param("responses", {"type": "hologram"}, "['hologram', not read here]"),
]


@pytest.mark.parametrize("api, part, shown", FILES)
def test_content_that_is_no_text(api: str, part: dict[str, Any], shown: str) -> None:
    field = "input" if api == "responses" else "messages"
    body = json.dumps({field: [{"role": "user", "content": [part]}]}).encode()
    reading = read(api, body, None, "")
    assert shown in "\n".join(conversation(reading.messages))
    assert shown.partition("\n")[0] in next(folded(reading.messages)) or part["type"] == "thinking"
    assert bool(reading.unread) is (part["type"] == "hologram")


def test_tools_of_all_kinds_are_named() -> None:
    namespace = {"type": "namespace", "name": "math", "tools": [{"type": "custom", "name": "add"}]}
    tools = [namespace, {"type": "web_search"}, {"type": "function", "name": "look"}, "junk", {}]
    body = json.dumps({"tools": tools}).encode()
    assert read("responses", body, None, "").tools == ("math__add", "web_search", "look")
    custom = {"type": "custom", "custom": {"name": "patch"}}
    body = json.dumps({"tools": [custom], "functions": [{"name": "f"}]}).encode()
    assert read("chat", body, None, "").tools == ("patch", "f")


@pytest.mark.parametrize("api", ["messages", "chat"])
def test_instructions_may_stand_anywhere(api: str) -> None:
    said = [{"role": "system", "content": "a"}, {"role": "user", "content": "Hi"}]
    later = {"role": "system", "content": [{"type": "text", "text": "b"}]}
    body = json.dumps({"messages": [*said, later, {"role": "narrator", "content": "c"}]}).encode()
    reading = read(api, body, None, "")
    assert (reading.system, reading.messages) == ("a\n\nb", (user("Hi"),))
    assert reading.unread == ("message of the role 'narrator'",)


@APIS
def test_what_is_not_known_is_named(api: str) -> None:
    hologram = {"type": "hologram", "choices": [{"delta": {"content": [{"type": "hologram"}]}}]}
    assert any("'hologram'" in name for name in read_stream(api, events(hologram)).unread)
    assert read(api, b"no JSON", b"<html>", "text/html").unread == (
        "the request: no JSON object",
        "the answer: no JSON object (text/html)",
    )


@pytest.mark.parametrize(
    "path, api",
    [
        ("/v1/messages", "messages"),
        ("/v1/messages?beta=true", "messages"),
        ("/anthropic/v1/messages/", "messages"),
        ("/openai/deployments/x/chat/completions?api-version=1", "chat"),
        ("/v1/responses", "responses"),
        ("/api/chat", "ollama"),
        ("/api/generate", None),
        ("/v1/messages/count_tokens", None),
        ("/v1/completions", None),
        ("/v1/responses/resp_1", None),
        ("/", None),
    ],
)
def test_apis_are_known_by_the_end_of_the_path(path: str, api: str | None) -> None:
    assert api_of(path) == api


@APIS
def test_five_megabytes_are_read_to_the_last_letter(api: str) -> None:
    letters = [f"{number} and on" for number in range(5_000_000 // 130)]
    stream = encoded(api, [TextDelta(0, letter) for letter in letters], stream=True)
    assert len(stream) > 5_000_000
    assert text_of(read_stream(api, stream)) == "".join(letters)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*SHAPES]), confused, st.lists(confused, max_size=4), st.binary())
def test_nothing_is_raised_whatever_comes(
    api: str, asked: Any, answered: list[Any], junk: bytes
) -> None:
    request = json.dumps(asked).encode()
    told = [json.dumps(value).encode() for value in answered]
    stream = b"".join(b"data: " + value + b"\n\n" for value in told) + junk
    for body in (stream, junk, *told):
        assert read(api, request, body, "").api == read(api, body, body, "").api == api


@APIS
def test_neither_depth_nor_size_of_numbers_hurts(api: str) -> None:
    deep = b'{"messages": ' + b'[{"content": ' * 50_000
    assert read(api, deep, deep, "").unread
    # The ledger adds them up, and a sum that SQLite cannot hold would spoil every report.
    for size in (2**70, 10**9):
        counts = {"input_tokens": size, "prompt_tokens": size}
        spoken = {"message": {}, "done": True, "prompt_eval_count": size}
        number = json.dumps({"usage": counts, **spoken}).encode()
        assert read(api, None, number, "").usage == Usage()


def test_results_within_results_are_none() -> None:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": "t", "content": "deep"}
    for _ in range(180):  # as deep as the reader of JSON goes
        block = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    request = json.dumps({"messages": [{"role": "user", "content": [block]}]}).encode()
    (message,) = read("messages", request, None, "").messages
    told = message.blocks[0]
    assert told["type"] == "tool_result"
    assert [part["type"] for part in parts_of(told)] == ["unread"]
