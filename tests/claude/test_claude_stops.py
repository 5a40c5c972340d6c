"""Answers that end at a stop sequence of the client's, however the text comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sessionbridge.claude.cli.stops import CutAnswer
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.model import (
    Delta,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolInput,
    Usage,
)
from tests.support.claude_cli import USAGE, Stage, answer, job
from tests.support.live_processes import ANN, kind, serving, stage

__all__ = ["stage"]

END = Finished("session", ("asked", "answer"), "end_turn", Usage(1, 2), 0.5)


def cut(deltas: Sequence[Delta], *stop: str) -> list[Delta]:
    answer = CutAnswer(stop)
    return [shown for delta in deltas for shown in answer.of(delta)]


def words(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def finished(deltas: Sequence[Delta]) -> Finished:
    end = deltas[-1]
    assert isinstance(end, Finished)
    return end


TABLE = [
    ("plain text", ("STOP",), "plain text", None),
    ("before STOP after", ("STOP",), "before ", "STOP"),
    ("STOP at once", ("STOP",), "", "STOP"),
    ("at the end STOP", ("STOP",), "at the end ", "STOP"),
    ("half a STO", ("STOP",), "half a STO", None),
    ("STSTOP", ("STOP",), "ST", "STOP"),
    ("aaab", ("aab",), "a", "aab"),
    ("ababac", ("abac",), "ab", "abac"),
    ("one b two a", ("a", "b"), "one ", "b"),
    ("xabcd", ("bcd", "abc"), "x", "abc"),
    ("xab!", ("abc", "b"), "xa", "b"),
    ("xabd", ("abc", "bd"), "xa", "bd"),
    ("line\n\nline", ("\n\n",), "line", "\n\n"),
    ("é𝄞 end", ("𝄞",), "é", "𝄞"),
    ("twice X and X", ("X",), "twice ", "X"),
]


@pytest.mark.parametrize(("text", "stop", "shown", "found"), TABLE)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_answer_ends_before_the_first_sequence(
    text: str, stop: tuple[str, ...], shown: str, found: str | None, size: int
) -> None:
    """However the text is cut into pieces; what nothing came of is not kept."""
    pieces = [TextDelta(0, text[at : at + size]) for at in range(0, len(text), size)]
    got = cut([*pieces, END], *stop)
    assert words(got) == shown
    end = finished(got)
    assert end.stop_sequence == found
    if found is None:
        assert end == END
    else:
        assert (end.stop_reason, end.exact) == ("stop_sequence", False)
        assert (end.usage, end.cost_usd, end.entries) == (END.usage, 0.5, END.entries)


def test_nothing_is_held_back_without_need() -> None:
    answer = CutAnswer(("STOP",))
    assert words(list(answer.of(TextDelta(0, "a word ST")))) == "a word "
    assert words(list(answer.of(TextDelta(0, "AND")))) == "STAND"


def test_a_sequence_does_not_reach_over_blocks_of_another_kind() -> None:
    """What was held back comes before what follows it, in its own block."""
    call: list[Delta] = [ToolCall(1, "id", "look"), ToolInput(1, '{"a": "STOP"}')]
    got = cut([TextDelta(0, "see ST"), *call, TextDelta(2, "OP"), END], "STOP")
    assert got[:2] == [TextDelta(0, "see "), TextDelta(0, "ST")]
    assert got[2:4] == call
    assert words(got[4:]) == "OP"
    assert finished(got) == END


def test_a_sequence_reaches_over_two_blocks_of_text() -> None:
    got = cut([TextDelta(0, "see ST"), TextDelta(1, "OP now"), END], "STOP")
    assert words(got) == "see "
    assert finished(got).stop_sequence == "STOP"


def test_what_the_model_thinks_or_calls_with_does_not_end_its_answer() -> None:
    before: list[Delta] = [Started("m", "claude-x", Usage()), ThinkingDelta(0, "I must STOP")]
    assert cut([*before, TextDelta(1, "Well"), END], "STOP")[:2] == before
    got = cut([TextDelta(0, "STOP"), ThinkingDelta(1, "x"), ToolCall(2, "i", "look"), END], "STOP")
    assert words(got) == ""
    assert [delta for delta in got if not isinstance(delta, TextDelta)] == [finished(got)]


async def test_the_model_is_let_finish_and_its_turn_counted(stage: Stage) -> None:
    """Where it goes on the model is shown what the client got."""
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job("My name is Ann"))
        stage.replies = [Reply(("One, two", ", th", "ree, four"), USAGE)]
        two = await answer(dispatcher, job("Count", "resume", after=one, stop=(", three", "zzz")))
        assert (two.text, kind(two)) == ("One, two", "live")
        assert two.finished.stop_reason == "stop_sequence"
        assert two.finished.stop_sequence == ", three"
        assert two.finished.usage.output_tokens == USAGE.output_tokens
        assert two.cost > 0
        again = await answer(dispatcher, job("Who am I?", "resume", after=two))
        assert (kind(again), again.text) == ("new", "Your name is Ann.")
    told = [("user", "Count"), ("assistant", "One, two"), ("user", "Who am I?")]
    assert stage.seen == [*ANN, *told]
