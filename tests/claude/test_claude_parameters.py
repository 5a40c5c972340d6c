"""How the model is to answer, with the real CLI: limits, schemas, thinking and effort."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest

from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.errors import BadRequest
from sessionbridge.model import (
    Block,
    Effort,
    Finished,
    Parameters,
    RedactedThinking,
    Started,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingSignature,
)
from tests.support.claude_cli import (
    MODEL,
    USAGE,
    Stage,
    answer,
    children,
    command_line,
    environment_of,
    job,
)
from tests.support.live_processes import kind, price, serving, stage
from tests.support.tool_rounds import calling, offering, said, shown, text, use

__all__ = ["stage"]

DONE = Reply(("Done.",), USAGE)


# --- the limit of tokens ----------------------------------------------------------------------


async def test_an_answer_ends_at_its_limit_and_can_be_gone_on_from(stage: Stage) -> None:
    """The CLI would go on with words of its own: its process is left behind."""
    limited = Parameters(max_tokens=9)
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [Reply(("Half", " way"), USAGE, "max_tokens")]
        half = await answer(dispatcher, offering("Hi", limited))
        assert children() == []
        assert stage.api.calls[0].body["max_tokens"] == 9
        assert (half.text, half.finished.stop_reason) == ("Half way", "max_tokens")
        assert half.cost == pytest.approx(price(half.finished.usage))
        told = [*said("user", text("Hi")), *said("assistant", text("Half way"))]
        calls = len(stage.api.calls)

        stage.replies = [DONE]
        resumed = await answer(dispatcher, offering("Go on", limited, name="resume", after=half))
        assert shown(stage) == [*told, *said("user", text("Go on"))]
        assert kind(resumed) == "new" and resumed.session_id == half.session_id
        stage.replies = [DONE]
        await answer(dispatcher, offering("Or?", limited, name="fork", after=half))
        assert shown(stage) == [*told, *said("user", text("Or?"))]
        assert len(stage.api.calls) == calls + 2
    assert calls <= 2  # the second is one that nobody waits for
    stage.replies = [DONE]
    last = await stage.answer(offering("Still?", name="resume", after=resumed))
    told += [*said("user", text("Go on")), *said("assistant", text("Done."))]
    assert shown(stage) == [*told, *said("user", text("Still?"))]
    assert last.cost == pytest.approx(price(last.finished.usage))


async def test_a_limit_met_in_the_middle_of_a_call_is_told_as_that(stage: Stage) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        cut = Reply((), USAGE, "max_tokens", (text("I look"), use("toolu_1", at="it")))
        stage.replies = [cut]
        turn = await answer(dispatcher, offering("Look"))
        assert turn.finished.stop_reason == "max_tokens"
        assert children() == []


# --- an answer that has to fulfil a schema ----------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}


async def test_a_structured_answer_is_one_json_text(stage: Stage) -> None:
    structured = Parameters(schema=SCHEMA)
    value = {"name": "Ünn\n", "n": 3}
    async with serving(stage.profile, live=1) as dispatcher:
        stage.replies = [
            calling(text("I think"), structured_use("toolu_1", value)),
            DONE,
        ]
        one = await answer(dispatcher, offering("Who?", structured))
        offered = {tool["name"]: tool for tool in stage.api.calls[0].body["tools"]}
        assert list(offered) == ["StructuredOutput"]
        assert offered["StructuredOutput"]["input_schema"]["properties"] == SCHEMA["properties"]
        (told,) = [delta for delta in one.deltas if isinstance(delta, TextDelta)]
        assert json.loads(told.text) == value
        assert one.finished.stop_reason == "end_turn"
        assert one.cost == pytest.approx(price(one.finished.usage))

        stage.replies = [calling(structured_use("toolu_2", {"name": "Bob"}))]
        two = await answer(dispatcher, offering("And?", structured, name="resume", after=one))
    assert json.loads(two.text) == {"name": "Bob"}
    asked = [*said("user", text("Who?")), *said("assistant", text(told.text))]
    assert shown(stage) == asked + said("user", text("And?"))


async def test_a_schema_of_any_size_stands_on_no_command_line(stage: Stage) -> None:
    """Where all can read it, and where there is room for 128 KB alone."""
    described = {"type": "string", "description": "private words " * 22_000}
    schema = {**SCHEMA, "properties": {"name": described}}
    stage.replies = [calling(structured_use("toolu_1", {"name": "Ann"}))]
    async with (
        serving(stage.profile) as dispatcher,
        aclosing(dispatcher.run(offering("Who?", Parameters(schema=schema)))) as deltas,
    ):
        async for delta in deltas:
            if isinstance(delta, Started):
                (pid,) = children()
                assert "private words" not in " ".join(command_line(pid))
                assert "private words" not in " ".join(environment_of(pid).values())
            if isinstance(delta, TextDelta):
                assert json.loads(delta.text) == {"name": "Ann"}
    assert isinstance(delta, Finished)
    (tool,) = stage.api.calls[0].body["tools"]
    assert tool["input_schema"] == schema


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"properties": {"a": {"$ref": "#/$defs/b"}}}]
)
async def test_a_schema_that_the_cli_does_not_take_is_refused(
    stage: Stage, schema: dict[str, Any]
) -> None:
    """The CLI itself would ask the model without it."""
    with pytest.raises(BadRequest, match=r"JSON schema of the answer; see whether it is valid"):
        await stage.answer(offering("Who?", Parameters(schema=schema)))


def structured_use(call: str, value: dict[str, Any]) -> Block:
    return {"type": "tool_use", "id": call, "name": "StructuredOutput", "input": value}


# --- thinking ---------------------------------------------------------------------------------

OPUS = "claude-opus-4-6"
SUMMED_UP = {"display": "summarized"}


@pytest.mark.parametrize(
    ("model", "thinking", "sent"),
    [
        ("sonnet", None, None),
        ("sonnet", Thinking(), {"type": "adaptive", **SUMMED_UP}),
        (MODEL, None, None),
        (MODEL, Thinking(2_000), {"type": "enabled", "budget_tokens": 2_000, **SUMMED_UP}),
        (OPUS, None, None),
        (OPUS, Thinking(), {"type": "adaptive", **SUMMED_UP}),
        (OPUS, Thinking(display="omitted"), {"type": "adaptive", **SUMMED_UP}),
    ],
)
async def test_the_model_thinks_as_it_was_asked_to(
    stage: Stage, model: str, thinking: Thinking | None, sent: dict[str, Any] | None
) -> None:
    wanted = job("Hi", memory="none", model=model, parameters=Parameters(thinking=thinking))
    await stage.answer(wanted)
    assert stage.api.calls[-1].body.get("thinking") == sent


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        (OPUS, "max", "max"),
        (OPUS, "low", "low"),
        (OPUS, None, "high"),
        ("sonnet", "low", "low"),
        ("opus", "max", "max"),
    ],
)
async def test_effort_reaches_the_api(
    stage: Stage, model: str, effort: Effort | None, sent: str
) -> None:
    parameters = Parameters(effort=effort)
    await stage.answer(job("Hi", memory="none", model=model, parameters=parameters))
    assert stage.api.calls[-1].body["output_config"]["effort"] == sent


async def test_a_client_may_want_no_more_of_thinking_than_its_signature(stage: Stage) -> None:
    thought: Block = {"type": "thinking", "thinking": "Let me see", "signature": "c2ln"}
    stage.replies = [calling(thought, text("Well."))]
    omitted = Parameters(thinking=Thinking(2_000, "omitted"))
    one = await stage.answer(offering("Hi", omitted))
    assert not [d for d in one.deltas if isinstance(d, ThinkingDelta)]
    assert ThinkingSignature(0, "c2ln") in one.deltas


async def test_what_the_model_thinks_is_passed_on(stage: Stage) -> None:
    thought: Block = {"type": "thinking", "thinking": "Let me see", "signature": "c2ln"}
    redacted: Block = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    stage.replies = [calling(thought, redacted, text("Well."))]
    thinking = Parameters(thinking=Thinking(2_000))
    one = await stage.answer(offering("Hi", thinking))
    assert "".join(d.text for d in one.deltas if isinstance(d, ThinkingDelta)) == "Let me see"
    assert [d for d in one.deltas if isinstance(d, ThinkingSignature | RedactedThinking)] == [
        ThinkingSignature(0, "c2ln"),
        RedactedThinking(1, "ZGF0YQ=="),
    ]
    assert [d.block for d in one.deltas if isinstance(d, TextDelta)] == [2]
    stage.replies = [DONE]
    await stage.answer(offering("And?", thinking, name="resume", after=one))
    assert shown(stage)[1:] == [
        *said("assistant", thought, redacted, text("Well.")),
        *said("user", text("And?")),
    ]
