"""Which results an open call can return so that the model sees them as the client sent them."""

from __future__ import annotations

from typing import Any

import pytest

from sessionbridge.claude.tools.client_tools import LONGEST_RESULT, answers
from sessionbridge.model import Block, Message
from tests.support.tool_rounds import IMAGE, found, text

BY_URL = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.gif"}}
BY_FILE = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}


def whether(*blocks: Block, calls: tuple[str, ...] = ("a",)) -> bool:
    return answers(Message("user", blocks), calls)


@pytest.mark.parametrize(
    "content",
    [
        "words",
        " a\n",
        [text("one")],
        [text("one"), text("")],
        "x" * (LONGEST_RESULT - 1),
    ],
)
def test_text_is_returned(content: Any) -> None:
    assert whether(found("a", content))
    assert whether(found("a", content, is_error=False))


@pytest.mark.parametrize(
    "result",
    [
        found("a", ""),
        found("a", " \n"),
        found("a", []),
        found("a", None),
        {"type": "tool_result", "tool_use_id": "a"},
        found("a", [text("")]),
        found("a", "x" * LONGEST_RESULT),
        found("a", [text("x" * (LONGEST_RESULT // 2))] * 2),
        found("a", [text("see"), DOCUMENT]),
        found("a", [text("see"), BY_URL]),
        found("a", [text("see"), BY_FILE]),
        found("a", [{"type": "search_result", "title": "x"}]),
        found("a", "", is_error=True),
        found("a", [text("one"), text("two")], is_error=True),
        found("a", [text("one"), IMAGE], is_error=True),
        text("words"),
        IMAGE,
    ],
)
def test_what_the_model_would_see_otherwise_is_not_returned(result: Block) -> None:
    assert not whether(result)


def test_results_are_those_of_the_calls_and_of_all_of_them() -> None:
    a, b = found("a"), found("b")
    assert whether(a, b, calls=("a", "b"))
    assert whether(b, a, calls=("a", "b"))
    assert not whether(a, calls=("a", "b"))
    assert not whether(a, b, calls=("a",))
    assert not whether(a, a, calls=("a",))
    assert not whether(a, b, b, calls=("a", "b"))
    assert not whether(found("c"), calls=("a",))
    assert not whether(a, text("and words"), calls=("a",))
