"""Answers that the CLI holds in another way than the client got them (real CLI)."""

from __future__ import annotations

from typing import Any

import pytest

from sessionbridge.claude.pool.pool import Keep
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.errors import ToolsLost
from sessionbridge.model import Block, Message, Parameters, Tool
from tests.support.claude_cli import USAGE, Stage, answer, blocks_of, children, say
from tests.support.live_processes import kind, serving, stage
from tests.support.tool_rounds import calling, found, offering, returning, said, shown, text, use

__all__ = ["stage"]

SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "deep": {"type": "boolean"},
        "parts": {"type": "array", "items": {"type": "integer"}},
        "more": {"type": "object"},
        "size": {"enum": ["½ cup", "1 cup"]},
        "note": {"type": "string"},
    },
}
OFFERED = Parameters(tools=(Tool("look", "Looks.", SCHEMA),))
DONE = Reply(("Done.",), USAGE)

ANOTHER_WAY: dict[str, tuple[Block, ...]] = {
    "an integer as text": (use("a", count="7"),),
    "a number as text": (use("a", share="0.5"),),
    "a boolean as text": (use("a", deep="true"),),
    "a list as text": (use("a", parts="[1, 2]"),),
    "an object as text": (use("a", more='{"x": 1}'),),
    "an escape of an escape": (use("a", note="caf\\u00e9"),),
    "a value put back": (use("a", size="½ cup"),),
    "one of two": (use("a", count=7), use("b", count="7")),
}
AS_IT_IS: dict[str, tuple[Block, ...]] = {
    "no input": (use("a"),),
    "types that no schema allows": (use("a", count=None, note=3, parts=["1"], more={"x": "1"}),),
    "fields that no schema has": (use("a", other="7"),),
    "numbers in another notation": (use("a", count=1.0, share=1e3),),
    "more digits than a double has": (use("a", count=12345678901234567890),),
    "nothing visible between calls": (use("a"), text(" \n"), use("b")),
}


def results(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    return tuple(found(block["id"]) for block in blocks if block["type"] == "tool_use")


@pytest.mark.parametrize("blocks", ANOTHER_WAY.values(), ids=ANOTHER_WAY)
async def test_the_results_are_brought_in_with_the_answer_as_the_client_got_it(
    stage: Stage, blocks: tuple[Block, ...]
) -> None:
    given = tuple(_as_offered(block) for block in blocks)
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [calling(*given), DONE, DONE]
        waits = await answer(dispatcher, offering("Look", OFFERED))
        with pytest.raises(ToolsLost):
            await answer(dispatcher, returning(waits, *results(blocks), parameters=OFFERED))
        assert children() == []

        # Where only the bridge holds the conversation it is told what the client got.
        told = await dispatcher.said(waits.session_id, waits.tip, None)
        assert blocks_of(*told) == [("user", text("Look")), *said("assistant", *blocks)]

        asked = Message("user", results(blocks))
        feed = (say("Look"), Message("assistant", blocks))
        done = await answer(dispatcher, offering(asked, OFFERED, name="import", feed=feed))
        expected = [*said("user", text("Look")), *said("assistant", *blocks)]
        expected += said("user", *asked.blocks)
        assert shown(stage) == expected
        thanks = offering("Thanks", OFFERED, name="resume", after=done)
        assert kind(await answer(dispatcher, thanks)) == "live"
        expected += [*said("assistant", text("Done.")), *said("user", text("Thanks"))]
        assert shown(stage) == expected
    await stage.answer(offering("Well?", OFFERED, name="resume", after=done))
    assert shown(stage)[: len(expected) - 1] == expected[:-1]


def _as_offered(block: Block) -> Block:
    """The model answers what it was offered."""
    if block["type"] != "tool_use" or "size" not in block["input"]:
        return block
    return block | {"input": {"size": "1⁄2 cup"}}


async def test_all_other_answers_are_gone_on_from(stage: Stage) -> None:
    """One after another in a conversation."""
    asked: dict[str, Any] = {}
    async with serving(stage.profile, live=2) as dispatcher:
        for number, (case, blocks) in enumerate(AS_IT_IS.items()):
            own = tuple(_numbered(block, number) for block in blocks)
            stage.replies = [calling(*own), DONE]
            waits = await answer(dispatcher, offering(case, OFFERED, **asked))
            took = await answer(dispatcher, returning(waits, *results(own), parameters=OFFERED))
            assert kind(took) == "live", case
            asked = {"name": "resume", "after": took}


def _numbered(block: Block, number: int) -> Block:
    """No two calls of a conversation have one id."""
    return block if block["type"] != "tool_use" else block | {"id": f"{block['id']}{number}"}


async def test_texts_come_before_calls_however_they_are_brought_in(stage: Stage) -> None:
    """What no way can mend is none to go another way for."""
    blocks = text("One."), use("a"), text("Two."), use("b")
    moved = text("One."), text("Two."), use("a"), use("b")
    calls = Message("assistant", blocks), Message("user", results(blocks))
    feed = (say("Look"), *calls, say("There.", "assistant"))
    for long in (0, 100):
        stage.keep = Keep(long=long)
        await stage.answer(offering("And?", OFFERED, name="import", feed=feed))
        assert shown(stage)[1:5] == said("assistant", *moved)
    async with serving(stage.profile, live=2) as dispatcher:
        stage.replies = [calling(*blocks), DONE]
        waits = await answer(dispatcher, offering("Look", OFFERED))
        took = await answer(dispatcher, returning(waits, *results(blocks), parameters=OFFERED))
    assert (kind(took), shown(stage)[1:5]) == ("live", said("assistant", *moved))
