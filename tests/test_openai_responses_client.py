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

from sessionbridge.apis.openai_responses import ResponsesShape
from sessionbridge.errors import ApiFailed, BadRequest, BridgeError, Overloaded, PromptTooLong
from sessionbridge.turn import (
    Finished,
    Parameters,
    Said,
    Started,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolInput,
    Turn,
    Usage,
)
from tests.wire import wired

SHAPE = ResponsesShape(clock=lambda: 1234.9)
STARTED = Started("msg_01ab", "claude-x", Usage(10, 1, 20, 30))


class City(BaseModel):
    name: str


def encode(*deltas: Said, stream: bool, stop_reason: str = "end_turn") -> list[bytes]:
    parameters = Parameters(thinking=Thinking())
    tools = [{"type": "custom", "name": "patch"}]
    turn = Turn("m", "", (), stream, parameters=parameters, echo={"tools": tools})
    encoder = SHAPE.encoder(turn)
    sent = [encoder.delta(delta) for delta in (STARTED, *deltas)]
    end = Finished("sid", ("e1",), stop_reason, Usage(11, 7, 21, 31), None)
    return [*sent, encoder.ping(), encoder.close(end)]


def client(chunks: list[bytes], content_type: str, **options: Any) -> openai.OpenAI:
    wire = wired(chunks, content_type, **options)
    return openai.OpenAI(api_key="k", max_retries=0, http_client=wire)


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
    document = ask(encode(*deltas, stream=False))
    for arriving in arrivals(encode(*deltas, stream=True)):
        assert follow(arriving) == document
        folded = fold(arriving)
        assert folded.output_text == document.output_text
        assert [item.type for item in folded.output] == [item.type for item in document.output]


@pytest.mark.parametrize("deltas", ANSWERS.values(), ids=ANSWERS)
def test_the_pieces_make_up_the_whole(deltas: list[Said]) -> None:
    with (
        client(encode(*deltas, stream=True), "text/event-stream; charset=utf-8") as reader,
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
    sent = encode(TextDelta(0, '{"name":'), TextDelta(0, ' "Rome"}'), stream=False)
    with client(sent, "application/json") as reader:
        parsed = reader.responses.parse(model="m", input="Hi", text_format=City)
    assert parsed.output_parsed == City(name="Rome")


def test_a_cut_answer_is_incomplete() -> None:
    for response in (
        ask(encode(TextDelta(0, "a"), stream=False, stop_reason="max_tokens")),
        follow(encode(TextDelta(0, "a"), stream=True, stop_reason="max_tokens")),
    ):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        item = response.output[0]
        assert item.type == "message" and item.status == "incomplete"
        assert isinstance(item.content[0], ResponseOutputText)


def test_a_stream_that_ends_early_has_no_response() -> None:
    sent = encode(TextDelta(0, "Hello"), stream=True)[:-1]
    for chunks in (sent, [*sent, b'event: response.completed\ndata: {"type": "respon']):
        with pytest.raises((RuntimeError, ValueError)):
            fold(chunks)
    with pytest.raises(openai.APIConnectionError):
        fold(sent, lost=True)


@pytest.mark.parametrize("deltas", [[], [STARTED], [STARTED, TextDelta(0, "Hello")]])
def test_an_error_within_the_stream_is_an_error_of_the_client(deltas: list[Said]) -> None:
    encoder = SHAPE.encoder(Turn("m", "", (), stream=True))
    sent = [*map(encoder.delta, deltas), encoder.ping()]
    sent.append(encoder.error(ApiFailed(529, "The API is busy; try later.")))
    for read in (follow, fold):
        with pytest.raises(openai.APIError, match="The API is busy") as caught:
            read(sent)
        assert caught.value.type == "server_error"


@pytest.mark.parametrize(
    "error, kind, code, param, raised",
    [
        (BadRequest("x", param="n"), "invalid_request_error", None, "n", openai.BadRequestError),
        (
            PromptTooLong("x"),
            "invalid_request_error",
            "context_length_exceeded",
            None,
            openai.BadRequestError,
        ),
        (
            Overloaded("x"),
            "rate_limit_error",
            "rate_limit_exceeded",
            None,
            openai.RateLimitError,
        ),
        (BridgeError("x"), "server_error", None, None, openai.InternalServerError),
    ],
)
def test_an_error_body_has_the_type_and_code_of_its_status(
    error: BridgeError,
    kind: str,
    code: str | None,
    param: str | None,
    raised: type[openai.APIStatusError],
) -> None:
    with pytest.raises(raised) as caught:
        ask([SHAPE.error_body(error)], status=SHAPE.status(error))
    assert caught.value.body == {"message": "x", "type": kind, "param": param, "code": code}
