"""Answers of Chat Completions, read by the official client and held against the reference."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from sessionbridge.apis.openai_chat.request import ChatShape
from sessionbridge.errors import ApiFailed
from sessionbridge.model import Finished, Said, Started, TextDelta, TurnRequest, Usage
from tests.support.wire import wired

SHAPE = ChatShape(clock=lambda: 1234.9)
STARTED = Started("msg_01ab", "claude-x", Usage(10, 1, 20, 30))
ASKED = TurnRequest("m", "", (), stream=False)
USAGE = {
    "prompt_tokens": 63,
    "completion_tokens": 7,
    "total_tokens": 70,
    "prompt_tokens_details": {"cached_tokens": 31},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def finished(stop_reason: str = "end_turn") -> Finished:
    return Finished("sid", ("e1",), stop_reason, Usage(11, 7, 21, 31), None)


def encode(
    *said: Said,
    stream: bool,
    usage: bool = False,
    stop_reason: str = "end_turn",
    asked: TurnRequest = ASKED,
) -> list[bytes]:
    encoder = SHAPE.encoder(replace(asked, stream=stream, include_usage=usage))
    sent = [encoder.delta(STARTED), *map(encoder.delta, said)]
    return [*sent, encoder.ping(), encoder.close(finished(stop_reason))]


def client(chunks: list[bytes], content_type: str, **options: Any) -> openai.OpenAI:
    wire = wired(chunks, content_type, **options)
    return openai.OpenAI(api_key="k", max_retries=0, http_client=wire)


def ask(chunks: list[bytes], **options: Any) -> ChatCompletion:
    with client(chunks, "application/json", **options) as reader:
        return reader.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}]
        )


def follow(chunks: list[bytes], **options: Any) -> ChatCompletion:
    with (
        client(chunks, "text/event-stream; charset=utf-8", **options) as reader,
        reader.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "Hi"}]
        ) as stream,
    ):
        return stream.get_final_completion()


def chunks_of(sent: list[bytes]) -> list[dict[str, Any]]:
    events = b"".join(sent).decode().removesuffix("\n\n").split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(e.removeprefix("data: ")) for e in events if not e.startswith(":")]


ANSWERS: dict[str, list[TextDelta]] = {
    "nothing": [],
    "empty text": [TextDelta(0, "")],
    "one block": [TextDelta(0, "Hel"), TextDelta(0, "lo 🙂")],
    "two blocks": [TextDelta(0, "a"), TextDelta(1, "b"), TextDelta(4, "c")],
    "odd line ends": [TextDelta(0, "a" + chr(0x2028) + "b\r\n\ndata: c" + chr(0x85))],
    "looks like the end": [TextDelta(0, "[DONE]")],
}


@pytest.mark.parametrize("texts", ANSWERS.values(), ids=ANSWERS)
def test_the_stream_folded_by_the_official_client_is_the_document(texts: list[TextDelta]) -> None:
    document = ask(encode(*texts, stream=False)).to_dict(exclude_none=True)
    sent = encode(*texts, stream=True, usage=True)
    whole = b"".join(sent)
    for arriving in (sent, [whole], [whole[i : i + 1] for i in range(len(whole))]):
        assert follow(arriving).to_dict(exclude_none=True) == document


REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "something_new": "stop",
}


@pytest.mark.parametrize("stop_reason, finish_reason", REASONS.items())
def test_the_document_is_that_of_the_reference(stop_reason: str, finish_reason: str) -> None:
    texts = [TextDelta(0, "a"), TextDelta(1, "b")]
    sent = b"".join(encode(*texts, stream=False, stop_reason=stop_reason))
    assert json.loads(sent) == {
        "id": "chatcmpl-01ab",
        "object": "chat.completion",
        "created": 1234,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": USAGE,
    }
    # The client builds models leniently; this check is strict.
    ChatCompletion.model_validate_json(sent)


@pytest.mark.parametrize("usage", [False, True])
def test_the_chunks_are_those_of_the_reference(usage: bool) -> None:
    chunks = chunks_of(encode(TextDelta(0, "a"), stream=True, usage=usage))
    head = {
        "id": "chatcmpl-01ab",
        "object": "chat.completion.chunk",
        "created": 1234,
        "model": "claude-x",
    }
    steps: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": ""}, None),
        ({"content": "a"}, None),
        ({}, "stop"),
    ]
    expected = [
        head
        | {"choices": [{"index": 0, "delta": d, "logprobs": None, "finish_reason": reason}]}
        | ({"usage": None} if usage else {})
        for d, reason in steps
    ]
    last = [head | {"choices": [], "usage": USAGE}] if usage else []
    assert chunks == [*expected, *last]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)


def test_a_ping_is_a_comment() -> None:
    assert SHAPE.encoder(TurnRequest("m", "", (), stream=True)).ping() == b": ping\n\n"


def test_a_stream_that_ends_early_has_no_finish_reason() -> None:
    """The official client takes a quiet end for the end, with or without `[DONE]`: only the missing
    finish reason tells. So the gateway must break the connection, or send an error, where an answer
    cannot be finished."""
    sent = encode(TextDelta(0, "Hello"), stream=True)[:-1]
    assert follow(sent).choices[0].finish_reason is None
    assert follow([*sent, b'data: {"id": "chatcm']).choices[0].finish_reason is None
    with pytest.raises(openai.APIConnectionError):
        follow(sent, lost=True)


@pytest.mark.parametrize("texts", [[], [TextDelta(0, "Hello")]])
def test_an_error_within_the_stream_is_an_error_of_the_client(texts: list[TextDelta]) -> None:
    encoder = SHAPE.encoder(TurnRequest("m", "", (), stream=True))
    sent = [encoder.delta(STARTED), *map(encoder.delta, texts)]
    with pytest.raises(openai.APIError, match="The API is busy") as caught:
        follow([*sent, encoder.error(ApiFailed(529, "The API is busy; try later."))])
    assert caught.value.type == "server_error"
