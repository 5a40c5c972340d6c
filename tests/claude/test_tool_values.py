"""The values a client's tool allows come back in its own characters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from sessionbridge.claude.tools.values import OwnValues, changed_values
from sessionbridge.model import (
    Delta,
    Finished,
    Parameters,
    TextDelta,
    Tool,
    ToolCall,
    ToolInput,
    Usage,
)
from tests.support.claude_cli import Stage, job
from tests.support.live_processes import stage
from tests.support.tool_rounds import calling, use

__all__ = ["stage"]

SIZES = ["½ cup", "whole\u00a0cup", "plain", "tm™"]
OFFERED = ["1⁄2 cup", "whole cup", "plain", "tmTM"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "size": {"enum": SIZES},
        "sizes": {"type": "array", "items": {"$ref": "#/$defs/size"}},
        "note": {"type": "string"},
    },
    "$defs": {"size": {"enum": [*SIZES, 3, None]}, "fixed": {"const": "№ 1"}},
}
POUR = Tool("pour", "Pours.", SCHEMA)
PLAIN = Tool("plain", "Is plain.", {"type": "object", "properties": {"a": {"enum": ["a"]}}})
END = Finished("s", (), "tool_use", Usage(), None)


@pytest.mark.parametrize(
    ("schema", "changed"),
    [
        (SCHEMA, {"1⁄2 cup": "½ cup", "whole cup": "whole\u00a0cup", "tmTM": "tm™", "No 1": "№ 1"}),
        ({"enum": ["½", "1⁄2"]}, {}),
        ({"enum": ["²", "2", "³"]}, {"3": "³"}),
        ({"enum": ["a\u200db", "x"]}, {"ab": "a\u200db"}),
        ({"properties": {"enum": {"type": "string"}, "const": {"const": "…"}}}, {"...": "…"}),
        ({"enum": "½"}, {}),
        ({"const": {"a": "½"}}, {}),
        ({}, {}),
    ],
)
def test_what_the_model_is_offered_in_their_place(schema: Any, changed: dict[str, str]) -> None:
    assert changed_values(schema) == changed


def told(*deltas: Delta) -> list[Delta]:
    values = OwnValues([POUR, PLAIN])
    return [own for delta in deltas for own in values.of(delta)]


def inputs(deltas: Sequence[Delta], block: int) -> str:
    return "".join(d.json for d in deltas if isinstance(d, ToolInput) and d.block == block)


def test_values_are_put_back_wherever_they_stand() -> None:
    given = {
        "size": "1⁄2 cup",
        "sizes": ["plain", "tmTM", 3, None],
        "note": "1⁄2 cup of …",
        "x": {},
    }
    text = json.dumps(given)
    pieces = [ToolInput(1, text[at : at + 7]) for at in range(0, len(text), 7)]
    end = ToolCall(2, "b", "plain")
    shown = told(
        TextDelta(0, "So."), ToolCall(1, "a", "pour"), *pieces, end, ToolInput(2, "{"), END
    )
    assert json.loads(inputs(shown, 1)) == given | {
        "size": "½ cup",
        "sizes": ["plain", "tm™", 3, None],
    }
    assert [type(d).__name__ for d in shown] == [
        *("TextDelta", "ToolCall", "ToolInput", "ToolCall", "ToolInput", "Finished"),
    ]


@pytest.mark.parametrize("text", ['{"note":  "as it is", "n": 1.0}', '{"size": "1⁄2 c', ""])
def test_all_else_stays_as_the_model_wrote_it(text: str) -> None:
    shown = told(ToolCall(0, "a", "pour"), *([ToolInput(0, text)] if text else []), END)
    assert inputs(shown, 0) == text
    assert shown[-1] == END


def test_other_calls_are_not_held_back() -> None:
    values = OwnValues([POUR, PLAIN])
    call, piece = ToolCall(0, "a", "plain"), ToolInput(0, '{"a"')
    assert [*values.of(call)] == [call]
    assert [*values.of(piece)] == [piece]


async def test_the_cli_offers_what_is_put_back(stage: Stage) -> None:
    stage.replies = [calling(use("a", "pour", size="1⁄2 cup", sizes=OFFERED))]
    asked = job("Pour", memory="none", parameters=Parameters(tools=(POUR,)))
    answer = await stage.answer(asked)
    [offered] = stage.api.calls[-1].body["tools"]
    assert offered["input_schema"]["properties"]["size"]["enum"] == OFFERED
    assert json.loads(inputs(answer.deltas, 0)) == {"size": "½ cup", "sizes": SIZES}
