"""The client's own tools with the real CLI: the model makes true calls and sees true results."""

from __future__ import annotations

from typing import Any

import pytest

from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.model import Parameters, Tool, ToolResultBlock
from tests.support.claude_cli import USAGE, Answer, Stage, answer
from tests.support.live_processes import kind, only_child, price, serving, stage
from tests.support.tool_rounds import (
    IMAGE,
    called,
    calling,
    found,
    offering,
    returning,
    said,
    shown,
    text,
    use,
)

__all__ = ["stage"]

DONE = Reply(("All ", "done."), USAGE)
ONE, TWO, THREE = use("toolu_1", at="é"), use("toolu_2", "other"), use("toolu_3", deep=[{"a": 1}])


async def test_a_turn_goes_on_in_the_process_that_waits(stage: Stage) -> None:
    """Two rounds, the second with parallel calls, then a plain turn; one process for all."""
    told = said("user", text("Look"))
    async with serving(stage.profile, live=1) as dispatcher:
        stage.replies = [calling(text("I look."), ONE)]
        one = await answer(dispatcher, offering("Look"))
        pid = only_child()
        assert (one.text, one.finished.stop_reason) == ("I look.", "tool_use")
        assert called(one) == [("toolu_1", "look", '{"at": "\\u00e9"}')]

        stage.replies = [calling(TWO, THREE)]
        two = await answer(dispatcher, returning(one, found("toolu_1", "It is ü𝄞\n")))
        told += said("assistant", text("I look."), ONE)
        told += said("user", found("toolu_1", "It is ü𝄞\n"))
        assert shown(stage) == told
        assert called(two) == [
            ("toolu_2", "other", ""),
            ("toolu_3", "look", '{"deep": [{"a": 1}]}'),
        ]

        stage.replies = [DONE]
        results = (found("toolu_2", "two"), found("toolu_3", [text("three")]))
        three = await answer(dispatcher, returning(two, *results))
        told += [*said("assistant", TWO, THREE), *said("user", *results)]
        assert shown(stage) == told
        assert (three.text, three.finished.stop_reason) == ("All done.", "end_turn")

        stage.replies = [DONE]
        four = await answer(dispatcher, offering("Thanks", name="resume", after=three))
        told += [*said("assistant", text("All done.")), *said("user", text("Thanks"))]
        assert shown(stage) == told
        assert only_child() == pid
    turns = (one, two, three, four)
    assert [kind(turn) for turn in turns] == ["new", "live", "live", "live"]
    assert {turn.session_id for turn in turns} == {one.session_id}
    assert [call.reply for call in stage.api.calls][2:] == [DONE, DONE]
    # An open turn's cost is estimated, the turn that closes it makes that good.
    assert sum(turn.cost for turn in turns) == pytest.approx(
        sum(price(turn.finished.usage) for turn in turns)
    )
    cold = await stage.answer(offering("Still?", name="resume", after=four))
    told += [*said("assistant", text("All done.")), *said("user", text("Still?"))]
    assert shown(stage) == told
    assert cold.cost == pytest.approx(price(cold.finished.usage))


RESULTS: dict[str, tuple[ToolResultBlock, ...]] = {
    "out_of_order": (found("2", "two"), found("1", "one")),
    "errors": (found("1", "no such thing", is_error=True), found("2")),
    "texts": (found("1", [text("a"), text("  b\n")]), found("2", " x ")),
    "much": (found("1", "big " * 100_000), found("2", "<persisted-output>")),
}
IMAGES = {"images": (found("1", [text("a"), IMAGE, text("b"), IMAGE]), found("2", [IMAGE]))}


@pytest.mark.parametrize("table", [RESULTS, IMAGES], ids=["texts", "images"])
async def test_the_model_sees_results_as_the_client_sent_them(
    stage: Stage, table: dict[str, tuple[ToolResultBlock, ...]]
) -> None:
    """In their order and as errors; in the process that waits and in those that resume or fork."""
    told: list[Any] = []
    turn: Answer | None = None
    async with serving(stage.profile, live=1) as dispatcher:
        for name, results in table.items():
            calls = (use(f"{name}_1"), use(f"{name}_2", "other"))
            given: tuple[ToolResultBlock, ...] = tuple(
                {**result, "tool_use_id": f"{name}_{result['tool_use_id']}"} for result in results
            )
            stage.replies = [calling(*calls), DONE]
            plan: dict[str, Any] = {"name": "resume", "after": turn} if turn else {}
            waits = await answer(dispatcher, offering(name, **plan))
            turn = await answer(dispatcher, returning(waits, *given))
            assert kind(turn) == "live"
            told += [*said("user", text(name)), *said("assistant", *calls), *said("user", *given)]
            assert shown(stage) == told, name
            told += said("assistant", text("All done."))
    assert turn is not None
    for how in ("fork", "resume"):
        await stage.answer(offering("Well?", name=how, after=turn))
        assert shown(stage) == [*told, *said("user", text("Well?"))]


STRANGE = (
    "x" * 64,
    "mcp__x",
    "mcp__client__look",
    "mcp__other__look",
    "a.b",
    "Bash",
    "Read",
    "Task",
    "Agent",
    "WebFetch",
    "StructuredOutput",
    "Skill",
    "AskUserQuestion",
)
SCHEMA = {
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/é"}, "n": {"type": ["integer", "null"], "minimum": 0}},
    "required": ["at"],
    "additionalProperties": False,
    "$defs": {"é": {"enum": ["a", None, 1.5]}},
    "x-own": [{}],
}


async def test_tools_are_offered_and_called_by_the_names_the_client_gave(stage: Stage) -> None:
    """Whatever the CLI has of that name itself, and with nothing left out."""
    described = [("d" * 4_990 + f" end {n}", SCHEMA) for n in range(len(STRANGE))]
    tools = tuple(
        Tool(name, *described) for name, described in zip(STRANGE, described, strict=True)
    )
    calls = tuple(use(f"toolu_{n}", name, at="a") for n, name in enumerate(STRANGE))
    results = tuple(found(f"toolu_{n}", f"by {name}") for n, name in enumerate(STRANGE))
    parameters = Parameters(tools=tools)
    async with serving(stage.profile, live=1) as dispatcher:
        stage.replies = [calling(*calls), DONE]
        one = await answer(dispatcher, offering("Do", parameters))
        offered = {tool["name"]: tool for tool in stage.api.calls[-1].body["tools"]}
        assert sorted(offered) == sorted(STRANGE)
        for tool in tools:
            assert offered[tool.name]["description"] == tool.description
            assert offered[tool.name]["input_schema"] == SCHEMA
        assert [(call, name) for call, name, _ in called(one)] == [
            (call["id"], call["name"]) for call in calls
        ]
        two = await answer(dispatcher, returning(one, *results, parameters=parameters))
    assert (kind(two), two.text) == ("live", "All done.")
    assert shown(stage)[1:] == [*said("assistant", *calls), *said("user", *results)]
