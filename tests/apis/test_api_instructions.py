"""Instructions within a conversation: to the system prompt, or asked where nobody else asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.model import TurnRequest

Said = tuple[str, str]
RULE, MORE = ("system", "Rule."), ("system", "More.")
HI, HELLO, BYE = ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")

PLACED: dict[str, tuple[list[Said], str, list[Said]]] = {
    "before the user's word": ([RULE, HI], "Rule.", [HI]),
    "after it": ([HI, RULE], "Rule.", [HI]),
    "between an answer and the next word": ([HI, HELLO, RULE, BYE], "Rule.", [HI, HELLO, BYE]),
    "before a greeting": ([RULE, HELLO, HI], "Rule.", [HELLO, HI]),
    "nothing else": ([RULE], "", [("user", "Rule.")]),
    "two and nothing else": ([RULE, MORE], "Rule.", [("user", "More.")]),
    "last, after an answer": ([HI, HELLO, RULE], "", [HI, HELLO, ("user", "Rule.")]),
    "two, last, after an answer": (
        [HI, HELLO, RULE, MORE],
        "Rule.",
        [HI, HELLO, ("user", "More.")],
    ),
    "and answered": (
        [HI, HELLO, RULE, ("assistant", "Fine."), BYE],
        "",
        [HI, HELLO, ("user", "Rule."), ("assistant", "Fine."), BYE],
    ),
    "a blank one asks nothing": ([HI, ("system", " ")], "", [HI]),
}


def parse(name: str, told: list[Said], **fields: Any) -> TurnRequest:
    role = "developer" if name == "responses" else "system"
    spoken = [{"role": role if who == "system" else who, "content": words} for who, words in told]
    place = "input" if name == "responses" else "messages"
    request = {"model": "m", "max_tokens": 9, place: spoken, **fields}
    return SHAPES[name].parse(json.dumps(request).encode())


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("told, system, messages", PLACED.values(), ids=PLACED)
def test_where_instructions_go(
    name: str, told: list[Said], system: str, messages: list[Said]
) -> None:
    turn = parse(name, told)
    assert turn.system == system
    assert [(m.role, m.blocks[0]["text"]) for m in turn.messages] == messages


def test_a_response_that_goes_on_with_an_instruction_alone() -> None:
    turn = parse("responses", [RULE], instructions="Be brief.", previous_response_id="resp_1")
    assert turn.system == "Be brief."
    assert [message.blocks[0]["text"] for message in turn.messages] == ["Rule."]
