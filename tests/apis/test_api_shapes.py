"""Every API shape keeps the promises of `apis/common/shape.py`; a new shape is held to them by one
entry in `REQUESTS`."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.apis.common.shape import Encoder, Shape
from sessionbridge.errors import (
    ApiFailed,
    BadRequest,
    BridgeError,
    ClaudeFailed,
    NotLoggedIn,
    Overloaded,
    PromptTooLong,
    Refused,
    ShuttingDown,
    StoreUnavailable,
    TimedOut,
)
from sessionbridge.model import Finished, Message, Started, TextDelta, Usage

SECRET = "Zanzibar-4711"
REQUESTS: dict[str, dict[str, Any]] = {
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "chat": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "m", "input": [{"role": "user", "content": "Hi"}]},
    "ollama": {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": False},
}
STREAMS = {"ollama": "application/x-ndjson"}
"""Of those that send no events."""
STARTED = Started("msg_01ab", "claude-x", Usage(10, 1, 20, 30))
TEXTS = [TextDelta(0, "Hel"), TextDelta(0, "lo"), TextDelta(0, ""), TextDelta(3, " you\u2028🙂")]
FINISHED = Finished("sid", ("e1",), "end_turn", Usage(10, 7, 20, 30), 0.01)
ERRORS: list[BridgeError] = [
    BadRequest("bad", param="messages.0.content"),
    PromptTooLong("long"),
    NotLoggedIn("login"),
    Refused("no"),
    StoreUnavailable("locked"),
    ShuttingDown("bye"),
    Overloaded("full"),
    ApiFailed(402, "pay"),
    ApiFailed(404, "no such model"),
    ApiFailed(418, "teapot"),
    ApiFailed(429, "slow down", retry_after=3),
    ApiFailed(529, "busy"),
    ClaudeFailed("crashed"),
    TimedOut("late"),
    BridgeError("bug"),
]


@pytest.fixture(params=SHAPES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shape(name: str) -> Shape:
    return SHAPES[name]


def body(name: str, **changes: Any) -> bytes:
    if name == "responses" and "messages" in changes:
        changes["input"] = changes.pop("messages")
    return json.dumps(REQUESTS[name] | changes).encode()


def place(name: str, field: str) -> str:
    """Where the same thing stands in the API's own request."""
    return field.replace("messages", "input", 1) if name == "responses" else field


def encoder(name: str, **changes: Any) -> Encoder:
    return SHAPES[name].encoder(SHAPES[name].parse(body(name, **changes)))


def refusal(name: str, sent: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        SHAPES[name].parse(sent)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    return caught.value


def test_shapes_are_found_by_the_name_they_have() -> None:
    assert {name: shape.name for name, shape in SHAPES.items()} == {n: n for n in REQUESTS}


def test_a_small_request_is_one_message(name: str, shape: Shape) -> None:
    turn = shape.parse(body(name))
    assert turn.model == "m" and turn.system == "" and turn.stream is False
    assert turn.messages == (Message("user", ({"type": "text", "text": "Hi"},)),)


@pytest.mark.parametrize("given", [True, False, None])
def test_stream_is_what_the_client_asked(name: str, given: bool | None) -> None:
    unless_asked = name == "ollama"
    stream = unless_asked if given is None else given
    assert SHAPES[name].parse(body(name, stream=given)).stream is stream


TURNS: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"messages": []}, "messages"),
    "messages null": ({"messages": None}, "messages"),
    "messages number": ({"messages": 4711}, "messages"),
    "a message is text": ({"messages": [SECRET]}, "messages.0"),
    "no role": ({"messages": [{"content": SECRET}]}, "messages.0.role"),
    "unknown role": ({"messages": [{"role": SECRET, "content": "x"}]}, "messages.0.role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content"),
    "content number": ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    "part is text": (
        {"messages": [{"role": "user", "content": [SECRET]}]},
        "messages.0.content.0",
    ),
    "part has no type": (
        {"messages": [{"role": "user", "content": [{"text": SECRET}]}]},
        "messages.0.content.0.type",
    ),
    "unknown part": (
        {"messages": [{"role": "user", "content": [{"type": "video", "url": SECRET}]}]},
        "messages.0.content.0.type",
    ),
    "odd part": (
        {"messages": [{"role": "user", "content": [{"type": "my " + SECRET}]}]},
        "messages.0.content.0.type",
    ),
    "text is a number": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 4711}]}]},
        "messages.0.content.0.text",
    ),
    "model null": ({"model": None}, "model"),
    "model blank": ({"model": " "}, "model"),
    "model number": ({"model": 5}, "model"),
    "stream text": ({"stream": "yes"}, "stream"),
    "last is the assistant": (
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": SECRET},
            ]
        },
        "messages.1.role",
    ),
    "blank prompt": ({"messages": [{"role": "user", "content": " \n"}]}, "messages.0.content"),
    "empty prompt": ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    "blank after an answer": (
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y"},
                {"role": "user", "content": [{"type": "text", "text": "\t"}]},
            ]
        },
        "messages.2.content",
    ),
    "blank after an answer without blocks": (
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": ""},
                {"role": "user", "content": ""},
            ]
        },
        "messages.2.content",
    ),
}


@pytest.mark.parametrize("changes, param", TURNS.values(), ids=TURNS)
def test_a_refusal_names_the_field_and_no_value(
    name: str, changes: dict[str, Any], param: str
) -> None:
    error = refusal(name, body(name, **changes))
    assert error.param == place(name, param)
    assert error.message.startswith(f"{error.param}: ")
    assert "4711" not in error.message


def test_model_is_required(name: str) -> None:
    request = {k: v for k, v in REQUESTS[name].items() if k != "model"}
    assert refusal(name, json.dumps(request).encode()).message == "model: is required"


def test_an_unknown_content_type_is_told_with_the_known_ones(name: str) -> None:
    content = [{"type": "text", "text": "x"}, {"type": "video"}]
    error = refusal(name, body(name, messages=[{"role": "user", "content": content}]))
    field = place(name, "messages.0.content.1.type")
    first = "input_text" if name == "responses" else "text"
    assert error.message.startswith(
        f"{field}: 'video' is not a content block this bridge knows; it knows {first}"
    )


def test_a_blank_message_beside_one_that_says_something_is_left_out(name: str) -> None:
    messages = [
        {"role": "user", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "  "},
    ]
    turn = SHAPES[name].parse(body(name, messages=messages))
    # Two messages stay two: joining neighbours is not for a shape to do.
    assert [message.blocks[0]["text"] for message in turn.messages] == ["one", "two"]


def test_instructions_among_the_messages_join_the_system_prompt(name: str) -> None:
    messages = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [{"type": "text", "text": "two"}]},
    ]
    turn = SHAPES[name].parse(body(name, messages=messages))
    assert turn.system == "one\n\ntwo"
    assert len(turn.messages) == 1


@pytest.mark.parametrize(
    "given, told",
    [
        ({"temperature": 1.0}, ["temperature"]),
        ({"temperature": 0}, ["temperature"]),
        ({"top_p": 1, "seed": 4}, ["seed", "top_p"]),
        ({"temperature": None, "tools": []}, []),
        ({"my_own": 1, "also-mine": 2}, ["also-mine", "my_own"]),
        ({"x\r\nset-cookie: y": 1, "é": 1}, ["(other)"]),
        ({"stream": False}, []),
        ({"session_id": "a", "conversation_id": "b", "litellm_session_id": "c"}, []),
        ({"conversation": {"id": "a"}}, []),
        ({"service_tier": "priority"}, ["service_tier"]),
    ],
)
def test_parameters_without_effect_are_told_sorted(
    name: str, given: dict[str, Any], told: list[str]
) -> None:
    ignored = SHAPES[name].parse(body(name, **given)).ignored
    assert list(ignored) == told


@pytest.mark.parametrize("given", [{"metadata": {"user_id": "u"}}, {"service_tier": "auto"}])
def test_what_changes_no_answer_is_not_told(name: str, given: dict[str, Any]) -> None:
    known = name != "ollama"  # which has no such fields
    assert (SHAPES[name].parse(body(name, **given)).ignored == ()) is known


def test_a_long_text_is_read_at_once(name: str) -> None:
    words = "word " * 1_000_000
    before = time.process_time()
    turn = SHAPES[name].parse(body(name, messages=[{"role": "user", "content": words}]))
    assert time.process_time() - before < 1
    assert turn.messages[0].blocks[0]["text"] == words


def test_unknown_fields_of_a_message_are_told(name: str) -> None:
    messages = [{"role": "user", "content": "x", "mood": "good", "note": None}]
    assert place(name, "messages.mood") in SHAPES[name].parse(body(name, messages=messages)).ignored


def test_a_document_says_nothing_before_its_end(name: str) -> None:
    document = encoder(name)
    assert document.content_type == "application/json"
    assert document.delta(STARTED) + b"".join(map(document.delta, TEXTS)) == b""
    assert document.ping() == b""
    assert json.loads(document.close(FINISHED))["model"] == "claude-x"


def test_a_stream_sends_each_text_at_once(name: str) -> None:
    stream = encoder(name, stream=True)
    assert stream.content_type.startswith(STREAMS.get(name, "text/event-stream"))
    assert b"claude-x" in stream.delta(STARTED)
    assert b'"Hel"' in stream.delta(TEXTS[0])
    assert stream.delta(TextDelta(0, "")) == b""
    assert stream.close(FINISHED).endswith(b"\n" if name in STREAMS else b"\n\n")


def test_an_answer_may_have_no_text(name: str) -> None:
    for streamed in (True, False):
        answer = encoder(name, stream=streamed)
        assert answer.delta(STARTED) + answer.close(FINISHED)


def test_two_answers_share_nothing(name: str) -> None:
    first, second = encoder(name), encoder(name)
    for answer, text in ((first, "uno"), (second, "due")):
        answer.delta(STARTED)
        answer.delta(TextDelta(0, text))
    assert b"due" not in first.close(FINISHED)
    assert b"uno" not in second.close(FINISHED)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: f"{type(e).__name__} {e.status}")
def test_errors_carry_the_sentence_in_every_form(name: str, error: BridgeError) -> None:
    told = json.loads(SHAPES[name].error_body(error))["error"]
    assert (told if name == "ollama" else told["message"]) == error.message
    document, stream = encoder(name), encoder(name, stream=True)
    assert document.error(error) == SHAPES[name].error_body(error)
    stream.delta(STARTED)
    last = stream.error(error).decode()
    assert json.dumps(error.message) in last
    if name != "responses":  # which wraps it in an event of its own
        data = last if name in STREAMS else last[last.index("data: ") + 6 :]
        assert json.loads(data)["error"] == told
    assert "[DONE]" not in last


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: f"{type(e).__name__} {e.status}")
def test_only_being_overloaded_has_a_status_by_shape(name: str, error: BridgeError) -> None:
    own = {"messages": 529, "chat": 429, "responses": 429, "ollama": 503}[name]
    assert SHAPES[name].status(error) == (own if isinstance(error, Overloaded) else error.status)
