"""Arguments of calls that were made, as models write them: all are taken, and read one way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.apis.common.openai_content import tool_use

READ: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("", {}),
    "blank": (" \n", {}),
    "null": ("null", {}),
    "an object": ('{"n": [1, "é"]}', {"n": [1, "é"]}),
    "a bare line break": ('{"text": "one\ntwo\t"}', {"text": "one\ntwo\t"}),
    "a key twice": ('{"n": 1, "n": 2}', {"n": 2}),
    "encoded twice": (json.dumps('{"n": 1}'), {"n": 1}),
    "nothing, encoded twice": ('""', {}),
}
AS_TEXT: dict[str, str] = {
    "cut off": '{"n": "passw',
    "two objects": "{}{}",
    "a list": "[1]",
    "a number": "7",
    "a text": '"x"',
    "a text of text": json.dumps(json.dumps('{"n": 1}')),
    "NaN": '{"n": NaN}',
    "beyond a double": '{"n": 1e999}',
    "half a surrogate pair": r'{"n": "\ud800"}',
    "too deep": '{"a":' * 500 + "1" + "}" * 500,
    "deeper than Python reads": "[" * 100_000,
    "an integer of thousands of digits": '{"n": %s}' % ("9" * 5000),
    "words": "n = 1",
}


@pytest.mark.parametrize("text, expected", READ.values(), ids=READ)
def test_what_can_be_read_is_the_input(text: str, expected: dict[str, Any]) -> None:
    assert read_arguments(text) == expected


@pytest.mark.parametrize("text", AS_TEXT.values(), ids=AS_TEXT)
def test_all_else_is_the_text_as_it_stands(text: str) -> None:
    used = {"type": "tool_use", "id": "a", "name": "f", "input": {"arguments": text}}
    assert tool_use("a", "f", text) == used


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_and_can_be_sent_on(text: str) -> None:
    json.dumps(read_arguments(text), allow_nan=False).encode()
