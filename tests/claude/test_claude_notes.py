"""What the CLI tells the model by itself, in conversations that are brought in (real CLI)."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.job import Job
from sessionbridge.claude.transcript.notes import Notes
from sessionbridge.model import Message, Point
from tests.support.claude_cli import Stage, say, some
from tests.support.live_processes import stage, transcripts
from tests.support.tool_rounds import found, offering, said, shown, text, use

__all__ = ["stage"]

RESULT = "port = 8080\n"
SHORT = (say("Look"), Message("assistant", (text("I look."), use("a"))))
LONG = (
    say("Look"),
    Message("assistant", (use("b"),)),
    Message("user", (found("b"),)),
    say("It is there.", "assistant"),
    say("And now?"),
    *SHORT[1:],
)


def importing(feed: tuple[Message, ...], model: str) -> Job:
    asked = Message("user", (found("a", RESULT),))
    return offering(asked, name="import", feed=feed, model=model)


def told(stage: Stage, number: int) -> list[tuple[str, str]]:
    """The texts of the beginning that the model was shown: up to its own first word."""
    messages = stage.api.calls[number].body["messages"]
    until_its_own = itertools.takewhile(lambda message: message["role"] != "assistant", messages)
    return [(m["role"], words) for m in until_its_own for words in _texts(m["content"])]


def _texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [block["text"] for block in content]


@pytest.mark.parametrize(
    "model, feed",
    some(
        [("sonnet", LONG), ("claude-opus-4-6", SHORT)],
        [
            ("default", SHORT),
            ("haiku", SHORT),
            ("claude-sonnet-4-5", LONG),
            ("claude-haiku-4-5", LONG),
        ],
    ),
    ids=lambda value: value if isinstance(value, str) else "long" if value is LONG else "short",
)
async def test_results_that_are_brought_in_are_the_clients_alone(
    stage: Stage, model: str, feed: tuple[Message, ...]
) -> None:
    await stage.answer(offering("Look", model=model))
    brought = await stage.answer(importing(feed, model))
    expected = [pair for m in feed for pair in said(m.role, *m.blocks)]
    expected += said("user", found("a", RESULT))
    assert shown(stage) == expected
    # It is told what it is told in a conversation that began here, and in the same place.
    assert told(stage, 1) == told(stage, 0)
    assert [message["role"] for message in stage.api.calls[1].body["messages"]].count("system") <= 1

    expected += said("assistant", text(brought.text)) + said("user", text("So?"))
    await stage.answer(offering("So?", name="resume", after=brought, model=model))
    assert shown(stage) == expected
    assert told(stage, 2) == told(stage, 0)


@pytest.mark.parametrize("model", some(["sonnet"], ["claude-sonnet-4-5"]))
async def test_so_are_those_of_a_conversation_that_is_known_here(stage: Stage, model: str) -> None:
    """It could go on from its first message, but that stands before the notes of its session."""
    first = await stage.answer(offering("Look", model=model))
    [asked, _] = first.finished.entries
    base = Point("hash", first.session_id, str(asked), 1, is_tip=False)
    job = importing(SHORT, model)
    plan = replace(job.plan, base=base, feed=SHORT[1:], whole=SHORT)
    brought = await stage.answer(replace(job, plan=plan))
    assert brought.dispatched.plan.base is None
    assert shown(stage)[-1:] == said("user", found("a", RESULT))
    assert told(stage, 1) == told(stage, 0)


async def test_so_are_those_of_a_conversation_that_is_not_kept(
    stage: Stage, tmp_path: Path
) -> None:
    await stage.answer(offering("Look"))
    kept = transcripts(tmp_path)
    job = replace(importing(SHORT, "claude-sonnet-4-5"), memory="none")
    await stage.answer(job)
    assert shown(stage)[-1:] == said("user", found("a", RESULT))
    assert transcripts(tmp_path) == kept


async def test_a_model_that_was_never_asked_gets_them_within_the_result(stage: Stage) -> None:
    """Nothing tells what the CLI would say of it: models of the 5.5 family get them apart."""
    await stage.answer(offering("Look", model="sonnet"))
    await stage.answer(importing(SHORT, "claude-sonnet-4-5"))
    [(_, result)] = shown(stage)[-1:]
    words = result["content"][0]["text"]
    assert words.startswith(f"{RESULT}\n<system-reminder>")
    stage.said.add(words)


def transcript(folder: Path, name: str, *lines: Any) -> None:
    written = [json.dumps(line, separators=(",", ":")) for line in lines]
    (folder / f"{name}.jsonl").write_text("\n".join([*written, '{"type":"atta']))


def test_notes_are_those_of_the_newest_transcript_with_all_of_them(tmp_path: Path) -> None:
    def notes(model: str, where: str, day: str = "2020-02-20") -> list[dict[str, Any]]:
        return [
            {"type": "environment", "snapshot": {"workingDirectory": where}},
            {"type": "model", "identity": {"modelId": model}},
            {"type": "session_context"},
            {"type": "date", "date": day},
        ]

    def attached(*notes: dict[str, Any]) -> list[Any]:
        return [{"type": "attachment", "attachment": note} for note in notes]

    known = Notes()
    assert known.today(tmp_path, "x") == ()
    transcript(tmp_path, "a", {"type": "user"}, *attached(*notes("x", "old")))
    transcript(tmp_path, "b", {"type": "user"}, *attached(*notes("y", "other")))
    transcript(
        tmp_path, "c", {"type": "user"}, *attached(*notes("x", "new")), {"type": "assistant"}
    )
    transcript(tmp_path, "d", [], {"type": "user"}, *attached(*notes("x", "half")[:2]))
    transcript(tmp_path, "e", {"type": "assistant"}, *attached(*notes("x", "later")))
    environment, _, dated = known.today(tmp_path, "x")
    assert environment["snapshot"]["workingDirectory"] == "new"
    assert dated == {"type": "date", "date": date.today().isoformat()}
    assert known.today(tmp_path / "nowhere", "x")[0] == environment
    assert known.today(tmp_path, "z") == ()
