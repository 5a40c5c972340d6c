"""Answers that a model gives seldom, and calls with inputs that nobody expects, as commands for the
scripted API (`[answer JSON]` in `tests.support.scripted_api`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, cast

from sessionbridge.model import Block
from tests.support.spoken import text

THOUGHT: Block = {"type": "thinking", "thinking": "Hm: é𝄞?", "signature": "c2lnbmVk"}
THINKING: Mapping[str, Mapping[str, Any]] = {
    "messages": {"thinking": {"type": "enabled", "budget_tokens": 1_024}, "max_tokens": 2_000},
    "chat": {"reasoning_effort": "low"},
}
"""What asks for thoughts, by API."""
REFUSED = {"type": "refusal", "category": "cyber", "explanation": "No harm, please."}

INPUTS: Sequence[str] = (
    '{"n": 7, "more": {"of": [null, true, "é𝄞\\u2028", {"all": {}}]}}',
    '{"other": "n is missing"}',
    '{"n": 7, "deep": %s}' % ('{"er": [' * 30 + "1" + "]}" * 30),
    '{"n": 1e3, "half": 0.5, "whole": 1.0, "small": 1.25e-7}',
    '{ "n" :\t7 , "": "" }',
    "{}",
    '{"n": "7"}',
    '{"n": "seven"}',
    '{"n": 7.5}',
    '{"n": true}',
    '{"n": null}',
    '{"n": [7]}',
)
"""As the model writes them."""


def odd_answer(chance: Random, number: int) -> str:
    """One of them, which says this number where it says anything."""
    said = text(f"So far {number}: é𝄞,\n  and")
    calls = [call(chance.choice(INPUTS)) for _ in range(chance.choice((1, 2, 3)))]
    cut = call(f'{{"n": {number}, "for": "Zo')
    answers: list[dict[str, Any]] = [
        _answer("end_turn"),
        _answer("end_turn", text("")),
        _answer("end_turn", THOUGHT),
        _answer("end_turn", THOUGHT, said),
        _answer("max_tokens", said),
        _answer("max_tokens", THOUGHT),
        _answer("max_tokens", said, cut),
        _answer("stop_sequence", said),
        _answer("refusal", said, stop_details=REFUSED),
        _answer("refusal", stop_details=REFUSED),
        _answer("model_context_window_exceeded", said),
        _answer("model_context_window_exceeded"),
        _answer("tool_use", said, *calls),
        _answer("tool_use", *calls),
        _answer("tool_use", said, *calls, text(" And so."), *calls, text(" That is all.")),
    ]
    return f"[answer {json.dumps(chance.choice(answers))}]"


def call(written: str) -> Block:
    return cast("Block", {"type": "tool_use", "name": "look", "input": written})


def _answer(stop_reason: str, *content: Block, **more: Any) -> dict[str, Any]:
    return {"content": content, "stop_reason": stop_reason, **more}


def wants_thoughts(prompt: str) -> bool:
    return '"thinking":' in prompt
