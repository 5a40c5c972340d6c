"""What the API tells beside the answer's content reaches the client: by all three APIs, whole and
in a stream, read by the official clients. The tables hold each field and word of the newest
packages; one that comes new fails here until it is decided."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import anthropic
import openai
import pytest
from anthropic.types import StopReason
from anthropic.types import Usage as ApiUsage
from anthropic.types.beta import BetaStopReason, BetaUsage
from claude_agent_sdk import Message
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion
from openai.types.responses import Response, ResponseCompletedEvent, ResponseIncompleteEvent

from sessionbridge.apis import SHAPES
from sessionbridge.claude.cli.stops import CutAnswer
from sessionbridge.cli.demo.scripted_api import Reply
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
from tests.claude.test_claude_answer import block, event, finished, read, result, said, start, text
from tests.support.claude_cli import USAGE, isolated, job, staged
from tests.support.wire import wired

COUNTS = {
    "input_tokens": 11,
    "output_tokens": 7,
    "cache_creation_input_tokens": 21,
    "cache_read_input_tokens": 31,
}
TOLD_FIRST: dict[str, Any] = {
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 20},
    "service_tier": "standard",
    "inference_geo": "eu",
    "speed": "standard",
    "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
    "output_tokens_details": {"thinking_tokens": 0},
}
TOLD_LAST: dict[str, Any] = {
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "output_tokens_details": {"thinking_tokens": 5},
}
BETA: dict[str, Any] = {
    "iterations": [{"type": "message", "input_tokens": 11, "output_tokens": 7}],
    "fallback_credit": {"status": "x"},
}
TOLD = TOLD_FIRST | TOLD_LAST
STARTED = Started("msg_01ab", "claude-x", Usage(11, 1, 21, 31), TOLD_FIRST)
HELLO: list[Said] = [TextDelta(0, "Hel"), TextDelta(0, "lo")]
Answer = anthropic.types.Message | ChatCompletion | Response


def end(stop_reason: str = "end_turn", told: dict[str, Any] = TOLD, **more: Any) -> Finished:
    return Finished("sid", ("e1",), stop_reason, Usage(**COUNTS), None, told=told, **more)


def sent(
    api: str,
    deltas: list[Said],
    last: Finished,
    *,
    stream: bool,
    thinking: Thinking | None = None,
) -> list[bytes]:
    parameters = Parameters(thinking=thinking)
    encoder = SHAPES[api].encoder(TurnRequest("m", "", (), stream, parameters, include_usage=True))
    return [*map(encoder.delta, [STARTED, *deltas]), encoder.close(last)]


def read_by_client(
    api: str,
    deltas: list[Said],
    last: Finished,
    *,
    stream: bool,
    thinking: Thinking | None = None,
) -> Answer:
    chunks = sent(api, deltas, last, stream=stream, thinking=thinking)
    wire = wired(chunks, "text/event-stream" if stream else "application/json")
    user: Any = [{"role": "user", "content": "Hi"}]
    if api == "messages":
        with anthropic.Anthropic(api_key="k", max_retries=0, http_client=wire) as claude:
            if not stream:
                return claude.messages.create(model="m", max_tokens=9, messages=user)
            with claude.messages.stream(model="m", max_tokens=9, messages=user) as events:
                return events.get_final_message()
    with openai.OpenAI(api_key="k", max_retries=0, http_client=wire) as client:
        if api == "chat":
            if not stream:
                return client.chat.completions.create(model="m", messages=user)
            # Not its helper for streams, which raises where an answer is cut or filtered.
            state = ChatCompletionStreamState()
            for chunk in client.chat.completions.create(model="m", messages=user, stream=True):
                state.handle_chunk(chunk)
            return state.current_completion_snapshot
        if not stream:
            return client.responses.create(model="m", input="Hi")
        *_, closing = client.responses.create(model="m", input="Hi", stream=True)
        assert isinstance(closing, ResponseCompletedEvent | ResponseIncompleteEvent)
        return closing.response


@pytest.mark.parametrize("stream", [False, True])
def test_messages_tell_all_that_the_api_told_of_the_usage(stream: bool) -> None:
    answer = read_by_client("messages", HELLO, end(), stream=stream)
    assert answer.usage is not None
    assert answer.usage.to_dict() == COUNTS | TOLD
    assert COUNTS.keys() | TOLD.keys() == ApiUsage.model_fields.keys()
    assert COUNTS.keys() | TOLD.keys() | BETA.keys() == BetaUsage.model_fields.keys()


def test_the_last_event_of_messages_tells_what_the_first_has_not() -> None:
    """As the API does, whose own last event has no `service_tier`."""
    closing = sent("messages", HELLO, end(told=TOLD | BETA), stream=True)[-1].decode()
    data = next(line[6:] for line in closing.split("\n") if '"message_delta"' in line[6:])
    assert json.loads(data)["usage"] == COUNTS | TOLD_LAST | BETA
    whole = json.loads(sent("messages", HELLO, end(told=TOLD | BETA), stream=False)[-1])
    assert whole["usage"] == COUNTS | TOLD | BETA


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "told, count",
    [(TOLD, 5), ({}, 0), ({"output_tokens_details": None}, 0), ({"output_tokens_details": {}}, 0)],
)
def test_thinking_tokens_are_told_as_reasoning_tokens(
    told: dict[str, Any], count: int, stream: bool
) -> None:
    chat = read_by_client("chat", HELLO, end(told=told), stream=stream)
    assert isinstance(chat, ChatCompletion) and chat.usage is not None
    assert chat.usage.completion_tokens_details is not None
    assert chat.usage.completion_tokens_details.reasoning_tokens == count
    response = read_by_client("responses", HELLO, end(told=told), stream=stream)
    assert isinstance(response, Response) and response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens == count


def test_what_the_api_tells_last_replaces_what_it_told_first() -> None:
    nothing = dict.fromkeys([*TOLD_FIRST, "input_tokens"])
    first = start(**TOLD_FIRST)
    closing = [
        event("message_delta", delta={"stop_reason": "end_turn"}, usage=nothing | TOLD_LAST),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9}),
        event("message_stop"),
    ]
    whole: list[Message] = [first, block(), text("Hi"), said("Hi"), *closing, result()]
    assert read(*whole)[0] == Started("m1", "claude-x", Usage(3, 1, 7, 11, 20), TOLD_FIRST)
    last = finished(*whole)
    assert last.told == TOLD
    assert last.usage == Usage(3, 9, 7, 11, 20)


def test_counts_are_summed_over_rounds_and_the_rest_is_that_of_the_last() -> None:
    broken: list[Message] = [start("m0", **TOLD), block(), event("message_stop")]
    whole: list[Message] = [start("m1", inference_geo="us"), block(), text("Hi"), said("Hi")]
    closing = [event("message_delta", delta={"stop_reason": "end_turn"}), event("message_stop")]
    last = finished(*broken, *whole, *closing, result())
    assert last.told == {"inference_geo": "us"}
    assert last.usage == Usage(6, 2, 14, 22, 20)


REFUSED = {"type": "refusal", "category": "bio", "explanation": "No harm, please."}
# The finish reason of Chat, and why a response is incomplete.
ENDS: dict[str, tuple[str, str | None]] = {
    "end_turn": ("stop", None),
    "max_tokens": ("length", "max_output_tokens"),
    "stop_sequence": ("stop", None),
    "tool_use": ("tool_calls", None),
    "pause_turn": ("stop", None),
    "refusal": ("content_filter", "content_filter"),
    "model_context_window_exceeded": ("length", "max_output_tokens"),
}
# What betas have besides, of what this bridge does not ask for.
BETA_ENDS = {"compaction"}


def test_the_table_has_all_stop_reasons() -> None:
    assert {*get_args(StopReason)} == ENDS.keys()
    assert {*get_args(BetaStopReason)} == ENDS.keys() | BETA_ENDS


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("deltas", [[], HELLO], ids=["nothing", "a text"])
@pytest.mark.parametrize("stop_reason", ENDS)
class TestEnds:
    def test_messages(self, stop_reason: str, deltas: list[Said], stream: bool) -> None:
        details = REFUSED if stop_reason == "refusal" else None
        last = end(stop_reason, stop_details=details)
        answer = read_by_client("messages", deltas, last, stream=stream)
        assert isinstance(answer, anthropic.types.Message)
        assert answer.stop_reason == stop_reason
        assert (answer.stop_details and answer.stop_details.to_dict()) == details
        content = [{"type": "text", "text": "Hello"}] if deltas else []
        assert [piece.to_dict() for piece in answer.content] == content
        assert answer.usage.output_tokens == 7

    def test_chat(self, stop_reason: str, deltas: list[Said], stream: bool) -> None:
        refused = stop_reason == "refusal"
        last = end(stop_reason, stop_details=REFUSED if refused else None)
        answer = read_by_client("chat", deltas, last, stream=stream)
        assert isinstance(answer, ChatCompletion) and answer.usage is not None
        (choice,) = answer.choices
        assert choice.finish_reason == ENDS[stop_reason][0]
        assert choice.message.content == ("Hello" if deltas else "")
        assert choice.message.refusal == ("No harm, please." if refused else None)
        assert answer.usage.completion_tokens == 7

    def test_responses(self, stop_reason: str, deltas: list[Said], stream: bool) -> None:
        reason = ENDS[stop_reason][1]
        last = end(stop_reason, stop_details=REFUSED if stop_reason == "refusal" else None)
        answer = read_by_client("responses", deltas, last, stream=stream)
        assert isinstance(answer, Response) and answer.usage is not None
        assert answer.status == ("incomplete" if reason else "completed")
        assert (answer.incomplete_details and answer.incomplete_details.reason) == reason
        assert answer.output_text == ("Hello" if deltas else "")
        parts = [part for item in answer.output for part in getattr(item, "content", [])]
        kinds = ["output_text"] * bool(deltas) + ["refusal"] * (stop_reason == "refusal")
        assert [part.type for part in parts] == kinds
        assert stop_reason != "refusal" or parts[-1].refusal == "No harm, please."
        assert answer.usage.output_tokens == 7


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("details", [None, {"type": "refusal", "explanation": None}])
def test_a_refusal_without_an_explanation(details: dict[str, Any] | None, stream: bool) -> None:
    last = end("refusal", stop_details=details)
    chat = read_by_client("chat", [], last, stream=stream)
    assert isinstance(chat, ChatCompletion)
    assert (chat.choices[0].message.refusal, chat.choices[0].message.content) == (None, "")
    response = read_by_client("responses", [], last, stream=stream)
    assert isinstance(response, Response) and response.output == []
    answer = read_by_client("messages", [], last, stream=stream)
    assert isinstance(answer, anthropic.types.Message)
    assert (answer.stop_details is None) == (details is None)


def test_the_details_are_those_of_the_message_that_ended_the_turn() -> None:
    def closing(reason: str, **more: Any) -> list[Message]:
        told = {"stop_reason": reason, **more}
        return [event("message_delta", delta=told), event("message_stop")]

    whole: list[Message] = [start(), block(), text("Hi"), said("Hi")]
    details = {"type": "refusal", "category": None}
    plain = finished(*whole, *closing("end_turn", stop_details=None), result())
    assert plain.stop_details is None and plain.explanation == ""
    told = finished(*whole, *closing("end_turn", stop_details=details), result())
    assert told.stop_details == details
    again: list[Message] = [start("m2"), block(), text("So"), said("So")]
    whole += closing("end_turn", stop_details=details)
    assert finished(*whole, *again, *closing("end_turn"), result()).stop_details is None


def test_an_answer_cut_at_a_stop_sequence_has_no_details() -> None:
    cut = CutAnswer(["ll"])
    last = end("refusal", stop_details=REFUSED)
    *_, closing = [heard for delta in [*HELLO, last] for heard in cut.of(delta)]
    assert isinstance(closing, Finished)
    assert (closing.stop_reason, closing.stop_details) == ("stop_sequence", None)
    assert closing.explanation == ""


async def test_a_structured_answer_that_never_came_is_the_words_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        stage.replies = [Reply(("Let us ", "talk."), USAGE), Reply(("No, ", "talk."), USAGE)]
        answer = await stage.answer(job("Hello", parameters=Parameters(schema=schema)))
    assert answer.text == "No, talk."
    assert answer.finished.stop_reason == "end_turn"
    assert stage.was_asked(2)


async def test_the_cli_passes_on_what_the_api_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        told = Reply(("Hi",), USAGE, told=TOLD_FIRST, told_last=TOLD_LAST | BETA)
        stage.replies = [replace(told, stop_details=REFUSED)]
        answer = await stage.answer(job("Hello"))
    assert answer.started.told == TOLD_FIRST
    assert answer.finished.told == TOLD | BETA
    assert answer.finished.thinking_tokens == 5
    assert answer.finished.stop_details == REFUSED


@pytest.mark.parametrize("pieces", [(), ("So far",)])
async def test_a_refusal_is_told_with_its_details(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: tuple[str, ...]
) -> None:
    refused = Reply(pieces, USAGE, "refusal", told_last=TOLD_LAST, stop_details=REFUSED)
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        stage.replies = [refused]
        answer = await stage.answer(job("Hello"))
    assert answer.text == "".join(pieces) and stage.was_asked(1)
    last = answer.finished
    assert (last.stop_reason, last.stop_details, last.told) == ("refusal", REFUSED, TOLD_LAST)
    assert last.explanation == "No harm, please."
