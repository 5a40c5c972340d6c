"""Answers of the Messages API, read by the official client and held against the reference."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest

from sessionbridge.apis.anthropic_messages.request import MessagesShape
from sessionbridge.errors import (
    ApiFailed,
    BadRequest,
    BridgeError,
    Overloaded,
    PromptTooLong,
    TimedOut,
)
from sessionbridge.model import (
    Finished,
    Parameters,
    Said,
    Started,
    TextDelta,
    Thinking,
    TurnRequest,
    Usage,
)
from tests.support.wire import wired

SHAPE = MessagesShape()
STARTED = Started("msg_01ab", "claude-x", Usage(10, 1, 20, 30))
USAGE = Usage(11, 7, 21, 31)


def finished(stop_reason: str = "end_turn") -> Finished:
    return Finished("sid", ("e1",), stop_reason, USAGE, None)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def encode(
    *said: Said, stream: bool, stop_reason: str = "end_turn", thinking: Thinking | None = None
) -> list[bytes]:
    encoder = SHAPE.encoder(TurnRequest("m", "", (), stream, Parameters(thinking=thinking)))
    sent = [encoder.delta(STARTED), *map(encoder.delta, said)]
    return [*sent, encoder.ping(), encoder.close(finished(stop_reason))]


def client(chunks: list[bytes], content_type: str, **options: Any) -> anthropic.Anthropic:
    wire = wired(chunks, content_type, **options)
    return anthropic.Anthropic(api_key="k", max_retries=0, http_client=wire)


def ask(chunks: list[bytes], **options: Any) -> anthropic.types.Message:
    with client(chunks, "application/json", **options) as reader:
        return reader.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
        )


def follow(chunks: list[bytes], **options: Any) -> anthropic.types.Message:
    with (
        client(chunks, "text/event-stream; charset=utf-8", **options) as reader,
        reader.messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        return stream.get_final_message()


def split(chunks: list[bytes]) -> list[bytes]:
    whole = b"".join(chunks)
    return [whole[i : i + 1] for i in range(len(whole))]


ANSWERS: dict[str, list[TextDelta]] = {
    "nothing": [],
    "empty text": [TextDelta(0, "")],
    "one block": [TextDelta(0, "Hel"), TextDelta(0, "lo 🙂")],
    "two blocks": [TextDelta(0, "a"), TextDelta(1, "b"), TextDelta(1, "c")],
    "blocks with gaps": [TextDelta(2, "a"), TextDelta(5, "b")],
    "odd line ends": [TextDelta(0, "a" + chr(0x2028) + "b\r\n\ndata: c" + chr(0x85))],
}


@pytest.mark.parametrize("texts", ANSWERS.values(), ids=ANSWERS)
def test_the_stream_folded_by_the_official_client_is_the_document(texts: list[TextDelta]) -> None:
    document = ask(encode(*texts, stream=False))
    sent = encode(*texts, stream=True)
    for chunks in (sent, [b"".join(sent)], split(sent)):
        folded = follow(chunks)
        # The accumulator adds nulls of its own.
        assert folded.to_dict(exclude_none=True) == document.to_dict(exclude_none=True)


@pytest.mark.parametrize(
    "stop_reason", ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "pause_turn"]
)
def test_the_document_is_that_of_the_reference(stop_reason: str) -> None:
    sent = encode(TextDelta(0, "a"), TextDelta(1, "b"), stream=False, stop_reason=stop_reason)
    assert json.loads(b"".join(sent)) == {
        "id": "msg_01ab",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [text("a"), text("b")],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 11,
            "output_tokens": 7,
            "cache_creation_input_tokens": 21,
            "cache_read_input_tokens": 31,
        },
    }
    # The client builds models leniently; this check is strict.
    anthropic.types.Message.model_validate_json(b"".join(sent))


def test_the_events_are_those_of_the_reference() -> None:
    sent = encode(TextDelta(0, "a"), TextDelta(1, "b"), stream=True)
    pairs = [event.split("\n") for event in b"".join(sent).decode().strip().split("\n\n")]
    events = [json.loads(data.removeprefix("data: ")) for _, data in pairs]
    assert [name for name, _ in pairs] == [f"event: {event['type']}" for event in events]
    empty, usage = text(""), {"input_tokens": 11, "output_tokens": 7}
    usage |= {"cache_creation_input_tokens": 21, "cache_read_input_tokens": 31}
    assert events[0]["message"]["usage"] == {
        "input_tokens": 10,
        "output_tokens": 1,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 30,
    }
    assert events[1:] == [
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": empty},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "b"}},
        {"type": "ping"},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]


def test_a_stream_that_ends_early_has_no_stop_reason() -> None:
    """The official client takes a quiet end for the end: only the missing stop reason tells. So the
    gateway must break the connection, or send an error, where an answer cannot be finished."""
    sent = encode(TextDelta(0, "Hello"), stream=True)[:-1]
    assert follow(sent).stop_reason is None
    assert follow([*sent, b'event: message_delta\ndata: {"type": "mess']).stop_reason is None
    with pytest.raises(httpx2.RemoteProtocolError):
        follow(sent, lost=True)


@pytest.mark.parametrize("texts", [[], [TextDelta(0, "Hello")]])
def test_an_error_within_the_stream_is_an_error_of_the_client(texts: list[TextDelta]) -> None:
    encoder = SHAPE.encoder(TurnRequest("m", "", (), stream=True))
    sent = [encoder.delta(STARTED), *map(encoder.delta, texts)]
    with pytest.raises(anthropic.APIStatusError) as caught:
        follow([*sent, encoder.error(ApiFailed(529, "The API is busy; try later."))])
    assert caught.value.body == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "The API is busy; try later."},
    }


@pytest.mark.parametrize(
    "error, kind, raised",
    [
        (BadRequest("x"), "invalid_request_error", anthropic.BadRequestError),
        (PromptTooLong("x"), "invalid_request_error", anthropic.BadRequestError),
        (ApiFailed(401, "x"), "authentication_error", anthropic.AuthenticationError),
        (ApiFailed(402, "x"), "billing_error", anthropic.APIStatusError),
        (ApiFailed(403, "x"), "permission_error", anthropic.PermissionDeniedError),
        (ApiFailed(404, "x"), "not_found_error", anthropic.NotFoundError),
        (ApiFailed(409, "x"), "conflict_error", anthropic.ConflictError),
        (ApiFailed(413, "x"), "request_too_large", anthropic.APIStatusError),
        (ApiFailed(422, "x"), "invalid_request_error", anthropic.UnprocessableEntityError),
        (ApiFailed(429, "x"), "rate_limit_error", anthropic.RateLimitError),
        (ApiFailed(529, "x"), "overloaded_error", anthropic.InternalServerError),
        (Overloaded("x"), "overloaded_error", anthropic.InternalServerError),
        (TimedOut("x"), "timeout_error", anthropic.InternalServerError),
        (BridgeError("x"), "api_error", anthropic.InternalServerError),
        (ApiFailed(502, "x"), "api_error", anthropic.InternalServerError),
    ],
)
def test_an_error_body_has_the_type_of_its_status(
    error: BridgeError, kind: str, raised: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(raised) as caught:
        ask([SHAPE.error_body(error)], status=SHAPE.status(error))
    assert caught.value.body == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": None,
    }
