"""Answers that are more than text: calls, thoughts, values of a schema, and those cut short."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from claude_agent_sdk import Message, ResultMessage, StreamEvent

from sessionbridge.claude.cli.answer import AnswerReader
from sessionbridge.errors import ApiFailed
from sessionbridge.model import (
    Delta,
    Finished,
    RedactedThinking,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    Usage,
)
from tests.claude.test_claude_answer import block, delta, event, result, said, start, stop, text
from tests.support.claude_cli import MODEL
from tests.support.live_processes import price

USAGE = Usage(3, 5, 7, 11)


def begun(kind: str, index: int, **fields: Any) -> StreamEvent:
    return event("content_block_start", index=index, content_block={"type": kind, **fields})


def started(model: str = MODEL) -> StreamEvent:
    first = start()
    first.event["message"]["model"] = model
    return first


def read(reader: AnswerReader, *messages: Message) -> list[Delta]:
    return [heard for message in messages for heard in reader.read(message)][1:]


def reader(cost: float = 0.0, *, structured: bool = False, estimated: float = 0.0) -> AnswerReader:
    return AnswerReader("session", ["asked"], cost, structured=structured, estimated=estimated)


CALLS: list[Message] = [
    started(),
    block(),
    text("I look"),
    begun("tool_use", 1, id="a", name="look", input={}),
    delta("input_json_delta", 1, partial_json=""),
    delta("input_json_delta", 1, partial_json='{"at":'),
    delta("input_json_delta", 1, partial_json=' "it"}'),
    begun("tool_use", 2, id="b", name="other", input={}),
    said("I look", entry="e1"),
    *stop("tool_use"),
]


def test_what_a_tool_at_anthropic_is_asked_is_no_part_of_a_call() -> None:
    """No client has such a tool here, so none is told of it; and the transcript has more."""
    asked = [
        begun("server_tool_use", 3, id="s", name="web_search", input={}),
        delta("input_json_delta", 3, partial_json='{"query": "it"}'),
        begun("web_search_tool_result", 4, tool_use_id="s", content=[]),
    ]
    place = next(n for n, message in enumerate(CALLS) if message == said("I look", entry="e1"))
    whole = [*CALLS[:place], *asked, *CALLS[place:]]
    *heard, end = read(reader(), *CALLS)
    assert isinstance(end, Finished)
    assert read(reader(), *whole) == [*heard, replace(end, exact=False)]


def test_an_answer_ends_with_its_calls() -> None:
    reading = reader(1.0)
    heard = read(reading, *CALLS)
    assert heard[:-1] == [
        TextDelta(0, "I look"),
        ToolCall(1, "a", "look"),
        ToolInput(1, '{"at":'),
        ToolInput(1, ' "it"}'),
        ToolCall(2, "b", "other"),
    ]
    end = heard[-1]
    assert isinstance(end, Finished)
    assert (end.session_id, end.entries) == ("session", ("asked", "e1"))
    assert (end.stop_reason, end.usage, end.exact) == ("tool_use", USAGE, True)
    assert end.cost_usd == pytest.approx(price(USAGE))
    assert reading.calls == {"a": "look", "b": "other"}


def test_the_turns_around_an_estimate_cost_together_what_the_cli_says() -> None:
    reading = reader(1.0)
    read(reading, *CALLS)
    assert reading.estimated == pytest.approx(price(USAGE))
    rest = reader(reading.cost, estimated=reading.estimated)
    for total in (1.5, 1.00001, 1.0):
        rest = reader(reading.cost, estimated=reading.estimated)
        end = read(rest, started(), block(), text("So"), said("So"), *stop(), result(cost=total))
        assert isinstance(end[-1], Finished) and end[-1].cost_usd is not None
        assert price(USAGE) + end[-1].cost_usd == pytest.approx(total - 1.0)
        assert (rest.cost, rest.estimated) == (total, 0.0)


def test_a_model_without_a_price_has_no_estimate() -> None:
    reading = reader(1.0)
    end = read(reading, started("claude-of-tomorrow"), *CALLS[1:])[-1]
    assert isinstance(end, Finished)
    assert end.cost_usd is None
    assert (reading.cost, reading.estimated) == (1.0, 0.0)


@pytest.mark.parametrize("calls", [False, True])
def test_an_answer_ends_at_its_limit(calls: bool) -> None:
    """The CLI would go on with words of its own."""
    parts = CALLS[1:-2] if calls else [block(), text("Half"), said("Half", entry="e1")]
    reading = reader()
    heard = read(reading, started(), *parts, *stop("max_tokens"))
    end = heard[-1]
    assert isinstance(end, Finished)
    assert (end.stop_reason, end.entries[-1], end.usage) == ("max_tokens", "e1", USAGE)
    assert end.cost_usd == pytest.approx(price(USAGE))
    assert [type(heard) for heard in heard].count(Finished) == 1


def test_thoughts_are_passed_on() -> None:
    heard = read(
        reader(),
        started(),
        begun("thinking", 0, thinking="", signature=""),
        delta("thinking_delta", 0, thinking="Let me"),
        delta("thinking_delta", 0, thinking=" see"),
        delta("signature_delta", 0, signature="sig"),
        begun("redacted_thinking", 1, data="secret"),
        block(2),
        text("Well", 2),
    )
    assert heard == [
        ThinkingDelta(0, "Let me"),
        ThinkingDelta(0, " see"),
        ThinkingSignature(0, "sig"),
        RedactedThinking(1, "secret"),
        TextDelta(2, "Well"),
    ]


VALUE = {"name": "Ünn", "n": [1, None]}


def structured(**fields: Any) -> list[Message]:
    """A round that calls the CLI's own tool, and one that says it is done."""
    return [
        started(),
        block(),
        text("I think"),
        begun("tool_use", 1, id="a", name="StructuredOutput", input={}),
        delta("input_json_delta", 1, partial_json='{"name": "x"}'),
        said("I think", entry="e1"),
        *stop("tool_use"),
        ResultMessage("success", 1, 1, False, 2, "session", total_cost_usd=0.5, **fields),
    ]


def test_a_structured_answer_is_its_json_alone() -> None:
    heard = read(reader(structured=True), *structured(structured_output=VALUE))
    assert len(heard) == 2
    told, end = heard
    assert isinstance(told, TextDelta) and isinstance(end, Finished)
    assert told.text == '{"name": "Ünn", "n": [1, null]}'
    assert (end.stop_reason, end.exact, end.cost_usd) == ("end_turn", False, 0.5)


WORDS: dict[str, tuple[list[str], list[str]]] = {
    "once": (["I would rather", " talk."], ["I would rather talk."]),
    "twice": (["First.", "", "Second."], ["Second."]),
    "none the second time": (["First.", "", " "], ["First."]),
    "none at all": ([" "], []),
}


@pytest.mark.parametrize("pieces, told", WORDS.values(), ids=WORDS)
def test_where_no_structured_answer_came_the_words_are_told(
    pieces: list[str], told: list[str]
) -> None:
    rounds: list[Message] = [started(), block()]
    for piece in pieces:  # an empty one begins another round
        rounds += [text(piece)] if piece else [*stop(), start("m2"), block()]
    heard = read(reader(structured=True), *rounds, said("I", entry="e1"), *stop(), result())
    assert [delta.text for delta in heard if isinstance(delta, TextDelta)] == told
    end = heard[-1]
    assert isinstance(end, Finished)
    assert (end.stop_reason, end.exact) == ("end_turn", False)


def test_without_a_schema_that_name_is_the_clients() -> None:
    heard = read(reader(), *structured()[:-1])
    assert ToolCall(1, "a", "StructuredOutput") in heard
    assert isinstance(heard[-1], Finished) and heard[-1].stop_reason == "tool_use"


def test_a_stream_that_breaks_in_a_call_fails() -> None:
    with pytest.raises(ApiFailed, match="broke off"):
        read(reader(), *CALLS[:6], event("message_stop"))
