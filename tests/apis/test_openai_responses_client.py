"""Answers of the Responses API, read by the official client however they arrive."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.responses import (
    ParsedResponse,
    Response,
    ResponseFunctionToolCall,
    ResponseOutputText,
)
from pydantic import BaseModel

from sessionbridge.errors import ApiFailed
from sessionbridge.model import Said, TextDelta, ThinkingDelta, ToolCall, ToolInput, TurnRequest
from tests.apis.test_openai_chat_answer import client
from tests.apis.test_openai_responses_answer import SHAPE, STARTED, asked, encode


class City(BaseModel):
    name: str


def ask(chunks: list[bytes], **options: Any) -> Response:
    with client(chunks, "application/json", **options) as reader:
        return reader.responses.create(model="m", input="Hi")


def follow(chunks: list[bytes], **options: Any) -> Response:
    """The response of the last event."""
    with client(chunks, "text/event-stream; charset=utf-8", **options) as reader:
        *_, last = reader.responses.create(model="m", input="Hi", stream=True)
    assert last.type in ("response.completed", "response.incomplete")
    return last.response


def fold(chunks: list[bytes], **options: Any) -> ParsedResponse[None]:
    """The response as the client's own helper puts it together."""
    with (
        client(chunks, "text/event-stream; charset=utf-8", **options) as reader,
        reader.responses.stream(model="m", input="Hi") as stream,
    ):
        return stream.get_final_response()


def arrivals(sent: list[bytes]) -> list[list[bytes]]:
    whole = b"".join(sent)
    return [sent, [whole], [whole[i : i + 1] for i in range(len(whole))]]


ANSWERS: dict[str, list[Said]] = {
    "nothing": [],
    "one text": [TextDelta(0, "Hel"), TextDelta(0, "lo 🙂")],
    "two texts": [TextDelta(0, "a"), TextDelta(4, "b")],
    "odd line ends": [TextDelta(0, "a" + chr(0x2028) + "b\r\n\ndata: c" + chr(0x85))],
    "looks like the end": [TextDelta(0, "[DONE]")],
    "thoughts, a text and calls": [
        ThinkingDelta(0, "Hm."),
        TextDelta(1, "So:"),
        ToolCall(2, "toolu_a", "double"),
        ToolInput(2, '{"n"'),
        ToolInput(2, ": 1}"),
        ToolCall(3, "toolu_b", "now"),
        ToolCall(4, "toolu_c", "patch"),
        ToolInput(4, '{"input": "x"}'),
    ],
}


@pytest.mark.parametrize("deltas", ANSWERS.values(), ids=ANSWERS)
def test_the_stream_however_it_arrives_is_the_document(deltas: list[Said]) -> None:
    document = ask(encode(asked(stream=False), *deltas))
    for arriving in arrivals(encode(asked(stream=True), *deltas)):
        assert follow(arriving) == document
        folded = fold(arriving)
        assert folded.output_text == document.output_text
        assert [item.type for item in folded.output] == [item.type for item in document.output]


@pytest.mark.parametrize("deltas", ANSWERS.values(), ids=ANSWERS)
def test_the_pieces_make_up_the_whole(deltas: list[Said]) -> None:
    with (
        client(encode(asked(stream=True), *deltas), "text/event-stream; charset=utf-8") as reader,
        reader.responses.stream(model="m", input="Hi") as stream,
    ):
        texts, arguments = "", ""
        for event in stream:
            if event.type == "response.output_text.delta":
                texts += event.delta
            elif event.type == "response.function_call_arguments.delta":
                arguments += event.delta
        final = stream.get_final_response()
    calls = [item for item in final.output if isinstance(item, ResponseFunctionToolCall)]
    assert texts == final.output_text
    assert arguments == "".join(call.arguments for call in calls)


def test_the_client_reads_the_answer_into_a_model_of_its_user() -> None:
    sent = encode(asked(stream=False), TextDelta(0, '{"name":'), TextDelta(0, ' "Rome"}'))
    with client(sent, "application/json") as reader:
        parsed = reader.responses.parse(model="m", input="Hi", text_format=City)
    assert parsed.output_parsed == City(name="Rome")


def test_a_cut_answer_is_incomplete() -> None:
    for response in (
        ask(encode(asked(stream=False), TextDelta(0, "a"), stop_reason="max_tokens")),
        follow(encode(asked(stream=True), TextDelta(0, "a"), stop_reason="max_tokens")),
    ):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        item = response.output[0]
        assert item.type == "message" and item.status == "incomplete"
        assert isinstance(item.content[0], ResponseOutputText)


def test_a_stream_that_ends_early_has_no_response() -> None:
    sent = encode(asked(stream=True), TextDelta(0, "Hello"))[:-1]
    for chunks in (sent, [*sent, b'event: response.completed\ndata: {"type": "respon']):
        with pytest.raises((RuntimeError, ValueError)):
            fold(chunks)
    with pytest.raises(openai.APIConnectionError):
        fold(sent, lost=True)


@pytest.mark.parametrize("deltas", [[], [STARTED], [STARTED, TextDelta(0, "Hello")]])
def test_an_error_within_the_stream_is_an_error_of_the_client(deltas: list[Said]) -> None:
    encoder = SHAPE.encoder(TurnRequest("m", "", (), stream=True))
    sent = [*map(encoder.delta, deltas), encoder.ping()]
    sent.append(encoder.error(ApiFailed(529, "The API is busy; try later.")))
    for read in (follow, fold):
        with pytest.raises(openai.APIError, match="The API is busy") as caught:
            read(sent)
        assert caught.value.type == "server_error"
