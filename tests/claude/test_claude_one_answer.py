"""One request, one answer of the model: whatever that is, the CLI does not ask again (real CLI)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest
from anthropic.types import RefusalStopDetails

from sessionbridge.claude.pool.pool import Keep
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.model import Block, Message, Parameters, Point, Thinking
from tests.support.claude_cli import (
    USAGE,
    Stage,
    answer,
    blocks_of,
    children,
    isolated,
    job,
    say,
    staged,
)

TEXT: Block = {"type": "text", "text": "So far."}
BLANK: Block = {"type": "text", "text": " \n"}
THOUGHT: Block = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}

ENDS: dict[str, tuple[tuple[Block, ...], str]] = {
    "no word": (({"type": "text", "text": ""},), "end_turn"),
    "blank": ((BLANK,), "end_turn"),
    "thoughts alone": ((THOUGHT,), "end_turn"),
    "the window is full": ((TEXT,), "model_context_window_exceeded"),
    "the window is full at once": ((BLANK,), "model_context_window_exceeded"),
    "a refusal": ((TEXT,), "refusal"),
    "a refusal without a word": ((BLANK,), "refusal"),
    "a pause": ((TEXT,), "pause_turn"),
    "a limit": ((TEXT,), "max_tokens"),
    "a limit while it thought": ((THOUGHT,), "max_tokens"),
    "a stop sequence": ((TEXT,), "stop_sequence"),
    "its own end": ((TEXT,), "end_turn"),
}


def _categories() -> tuple[str, ...]:
    told = RefusalStopDetails.model_fields["category"].annotation
    return tuple(word for part in get_args(told) for word in get_args(part))


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as made:
        made.keep = Keep(live=2)
        yield made


@pytest.mark.parametrize("content, stop", ENDS.values(), ids=ENDS)
async def test_the_turn_ends_where_the_answer_does(
    stage: Stage, content: tuple[Block, ...], stop: str
) -> None:
    parameters = Parameters(thinking=Thinking(), max_tokens=4096)
    stage.replies = [Reply((), USAGE, stop, content)]
    dispatcher = stage.dispatcher()
    first = await answer(dispatcher, job("Begin", parameters=parameters))
    assert first.finished.stop_reason == stop
    assert stage.was_asked(1)
    assert first.finished.usage.output_tokens == USAGE.output_tokens
    assert first.text == "".join(b["text"] for b in content if b["type"] == "text")

    ends = [entry for entry in first.finished.entries if entry is not None]
    base = Point("hash", first.session_id, ends[-1], 1, is_tip=True)
    follow = job("Go on", "resume", parameters=parameters)
    plan = follow.plan
    object.__setattr__(plan, "base", base)
    object.__setattr__(follow, "session_id", first.session_id)
    second = await answer(dispatcher, follow)
    assert second.finished.stop_reason == "end_turn" and stage.was_asked(2)
    shown = [block for block in stage.blocks if block[1]["type"] != "thinking"]
    said = (Message("assistant", (TEXT,)),) if TEXT in content else ()
    wanted = blocks_of(say("Begin"), *said, say("Go on"))
    assert [(role, _plain(block)) for role, block in shown] == wanted
    await dispatcher.close()
    assert children() == []


@pytest.mark.parametrize(
    "category, content",
    [(category, (TEXT,) * (n % 2)) for n, category in enumerate(_categories())],
    ids=_categories(),
)
async def test_a_refusal_is_not_asked_of_another_model(
    stage: Stage, category: str, content: tuple[Block, ...]
) -> None:
    """The CLI has one for some categories, and that model's refusal tells none (measured with
    2.1.332, claude-opus-5-5)."""
    details = {"type": "refusal", "category": category, "explanation": "No harm."}
    stage.replies = [Reply((), USAGE, "refusal", content, stop_details=details)]
    refused = await answer(stage.dispatcher(), job("Begin", model="claude-opus-5-5"))
    assert stage.was_asked(1)
    assert (refused.finished.stop_reason, refused.finished.stop_details) == ("refusal", details)
    assert refused.finished.usage.output_tokens == USAGE.output_tokens


def _plain(block: dict[str, Any]) -> dict[str, Any]:
    return block if block["type"] != "text" else {**block, "text": block["text"].strip("\n")}
