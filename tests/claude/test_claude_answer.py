"""Tables of what the CLI says, as the SDK hands it over, and the deltas that come of it."""

from __future__ import annotations

from typing import Any

import pytest
from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    StreamEvent,
    SystemMessage,
    TextBlock,
    UserMessage,
)

from sessionbridge.claude.cli.answer import AnswerReader
from sessionbridge.errors import ApiFailed, ClaudeFailed, NotLoggedIn
from sessionbridge.model import Delta, Finished, Started, TextDelta, Usage

COUNTS = {"input_tokens": 3, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 11}


def event(type: str, *, parent: str | None = None, **fields: Any) -> StreamEvent:
    return StreamEvent("e", "s", {"type": type} | fields, parent_tool_use_id=parent)


def start(message_id: str = "m1", **usage: Any) -> StreamEvent:
    counts = COUNTS | {"output_tokens": 1} | usage
    message = {"id": message_id, "model": "claude-x", "usage": counts}
    return event("message_start", message=message)


def block(index: int = 0, type: str = "text") -> StreamEvent:
    return event("content_block_start", index=index, content_block={"type": type})


def text(words: str, index: int = 0) -> StreamEvent:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": words})


def delta(type: str, index: int = 0, **fields: Any) -> StreamEvent:
    return event("content_block_delta", index=index, delta={"type": type} | fields)


def stop(reason: str = "end_turn", output: int = 5) -> list[StreamEvent]:
    usage = {"output_tokens": output}
    closing = event("message_delta", delta={"stop_reason": reason}, usage=usage)
    return [closing, event("message_stop")]


def said(
    *words: str,
    entry: str | None = "answer",
    message_id: str | None = "m1",
    model: str = "claude-x",
    error: Any = None,
    **fields: Any,
) -> AssistantMessage:
    content: list[Any] = [TextBlock(word) for word in words]
    return AssistantMessage(
        content, model, error=error, uuid=entry, message_id=message_id, **fields
    )


def result(*, cost: float | None = 0.5, is_error: bool = False, **fields: Any) -> ResultMessage:
    return ResultMessage("success", 1, 1, is_error, 1, "session", total_cost_usd=cost, **fields)


def read(*messages: Message, before: float = 0.0) -> list[Delta]:
    reading = AnswerReader("session", ["asked"], before, structured=False)
    return [delta for message in messages for delta in reading.read(message)]


def finished(*messages: Message, before: float = 0.0) -> Finished:
    last = read(*messages, before=before)[-1]
    assert isinstance(last, Finished)
    return last


PLAIN: list[Message] = [start(), block(), text("Hello"), said("Hello"), *stop()]


@pytest.mark.acceptance(8)
def test_a_plain_answer() -> None:
    assert read(*PLAIN, result()) == [
        Started("m1", "claude-x", Usage(3, 1, 7, 11)),
        TextDelta(0, "Hello"),
        Finished("session", ("asked", "answer"), "end_turn", Usage(3, 5, 7, 11), 0.5),
    ]


@pytest.mark.parametrize(
    "noise",
    [
        delta("input_json_delta", partial_json=""),
        delta("citations_delta", citation={}),
        event("ping"),
        event("content_block_delta", index=0),
        event("content_block_delta", delta={"type": "text_delta", "text": "no index"}),
        event("content_block_start"),
        event("message_delta"),
        event("message_delta", delta={"stop_reason": None}, usage=None),
        event("error", error={"type": "overloaded_error"}),
        StreamEvent("e", "s", {}),
        event("content_block_delta", parent="tool", index=0, delta={"type": "text_delta"}),
        event("message_start", parent="tool", message={"id": "sub", "model": "claude-y"}),
        SystemMessage("init", {}),
        SystemMessage("api_retry", {"retry_delay_ms": None}),
        UserMessage("the CLI's own"),
        said("[CLI]", entry="synthetic", message_id="x", model="<synthetic>"),
        said("subagent", entry="sub", message_id="sub", parent_tool_use_id="tool"),
    ],
)
@pytest.mark.parametrize("place", range(1, 6))
def test_what_is_not_the_answer_changes_nothing(noise: Message, place: int) -> None:
    messages = [*PLAIN[:place], noise, *PLAIN[place:], result()]
    assert read(*messages) == read(*PLAIN, result())


def test_blocks_and_tokens_are_counted_over_all_rounds() -> None:
    """The CLI's own rounds: one that breaks before anything was said, and the answer."""
    first: list[Message] = [start("m1"), block(0, "thinking"), block(1)]
    second = [start("m2", input_tokens=30), block(), text("Two")]
    last = said("Two", entry="e2", message_id="m2")
    deltas = read(*first, event("message_stop"), *second, last, *stop(), result())
    assert [delta for delta in deltas if isinstance(delta, TextDelta)] == [TextDelta(2, "Two")]
    assert [type(delta) for delta in deltas].count(Started) == 1
    assert deltas[-1] == Finished("session", ("asked", "e2"), "end_turn", Usage(33, 6, 14, 22), 0.5)


def test_later_counts_of_one_round_replace_earlier_ones() -> None:
    more = event("message_delta", delta={"stop_reason": "end_turn"}, usage=COUNTS | {"x": "y"})
    closing = [more, *stop(output=9)]
    spoken: list[Message] = [start(), block(), text("Hi"), said("Hi")]
    assert finished(*spoken, *closing, result()).usage == Usage(3, 9, 7, 11)


@pytest.mark.parametrize(
    ("total", "before", "cost"),
    [(0.75, 0.5, 0.25), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0), (0.25, 0.5, 0.0), (None, 0.5, None)],
)
def test_the_cost_is_the_turns_own(total: float | None, before: float, cost: float | None) -> None:
    assert finished(*PLAIN, result(cost=total), before=before).cost_usd == cost


def test_a_stream_that_breaks_after_text_fails_before_the_cli_tries_again() -> None:
    broken: list[Message] = [
        start(),
        block(),
        text("Half an ans"),
        event("content_block_stop", index=0),
    ]
    with pytest.raises(ApiFailed, match="broke off") as caught:
        read(*broken, event("message_stop"))
    assert caught.value.status == 502
    for after in ([start("m2")], [result()], [said("Whole", message_id="m2"), result()]):
        with pytest.raises(ApiFailed, match="broke off"):
            read(*broken, *after)


def test_a_stream_that_breaks_before_text_is_answered_by_the_next() -> None:
    broken: list[Message] = [
        start("m0"),
        block(),
        event("content_block_stop", index=0),
        event("message_stop"),
    ]
    deltas = read(*broken, *PLAIN, result())
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["Hello"]
    assert [type(delta) for delta in deltas].count(Started) == 1


def test_a_result_without_an_answer_is_a_failure() -> None:
    with pytest.raises(ClaudeFailed, match="without asking the model"):
        read(result())
    with pytest.raises(ClaudeFailed, match="without an answer"):
        read(start(), block(), *stop(), result())


def test_a_failed_result_is_a_failure_even_after_text() -> None:
    error = said("Not logged in", error="authentication_failed", model="<synthetic>")
    with pytest.raises(NotLoggedIn):
        read(*PLAIN, error, result(is_error=True))


def test_a_conversation_the_cli_shortened_is_known() -> None:
    boundary = SystemMessage("compact_boundary", {"compact_metadata": {"trigger": "auto"}})
    summary = UserMessage("This session is being continued …")
    assert read(boundary, summary, *PLAIN, result())[:-1] == read(*PLAIN, result())[:-1]
    assert finished(boundary, summary, *PLAIN, result()).compacted
    assert not finished(*PLAIN, result()).compacted


def test_the_delay_of_the_last_retry_is_passed_on() -> None:
    retries = [SystemMessage("api_retry", {"retry_delay_ms": delay}) for delay in (500, 6100)]
    with pytest.raises(ApiFailed) as caught:
        read(*retries, result(is_error=True, api_error_status=429))
    assert caught.value.retry_after == 7
