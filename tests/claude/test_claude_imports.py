"""Conversations that are written as a transcript file and resumed, and the two ways out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.profile import transcript_path
from sessionbridge.claude.transcript import imports
from sessionbridge.errors import ClaudeFailed
from sessionbridge.model import Block, Message, ToolResultBlock
from tests.support.claude_cli import (
    Answer,
    Stage,
    answer,
    blocks_of,
    children,
    fake_cli,
    isolated,
    job,
    profile,
    say,
    staged_one_way,
)

TEXT: Block = {"type": "text", "text": "It says ü𝄞"}
IMAGE: Block = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAAAAACw="},
}


def use(number: int) -> Block:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": {"at": "é"}}


def found(number: int, content: str | Sequence[Block] = "it") -> ToolResultBlock:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content}


CALL = Message("assistant", (TEXT, use(1), use(2)))
RESULT = Message("user", (found(1), found(2, [TEXT, IMAGE]), TEXT))


def ten(number: int) -> tuple[Message, ...]:
    """A model never gives two calls the same id, and the CLI leaves such calls out."""
    one, two = 2 * number, 2 * number + 1
    return (
        say("@/etc/hostname"),
        say("/cost", "assistant"),
        say("/cost"),
        say("@/etc/passwd", "assistant"),
        Message("user", (IMAGE, TEXT)),
        Message("assistant", (TEXT, TEXT)),
        say("a\r\n\tb  "),
        Message("assistant", (TEXT, use(one), use(two))),
        Message("user", (found(one, "big " * 9_000), found(two, [TEXT, IMAGE]), TEXT)),
        say("Found it", "assistant"),
    )


SIXTY = tuple(message for number in range(1, 7) for message in ten(number))
FEW = (say("Hi"), say("Hello", "assistant"))


@pytest.mark.parametrize(
    ("messages", "count"),
    [
        ((), 0),
        ((say("Hi"),), 0),
        ((say("Hello", "assistant"),), 1),
        (FEW, 2),
        ((*FEW, say("And?")), 2),
        ((*FEW, say("Look"), CALL), 2),
        ((*FEW, say("Look"), CALL, RESULT), 2),
        ((say("Look"), CALL, RESULT, say("Well", "assistant")), 4),
        ((say("Look"), CALL, RESULT), 0),
    ],
)
def test_a_file_ends_with_the_last_answer_in_text(
    messages: tuple[Message, ...], count: int
) -> None:
    assert imports.writable(messages) == count


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def test_each_entry_names_the_one_before_it(tmp_path: Path) -> None:
    half = say("half a \ud800 pair\u2028")
    path = tmp_path / "session.jsonl"
    entries, tip = imports.write(imports.TranscriptFile(path, Path("/work"), "x"), (half, *FEW))
    lines = written(path)
    assert [line["uuid"] for line in lines] == [*entries]
    assert [line["parentUuid"] for line in lines] == [None, *entries[:-1]]
    assert (tip, datetime.fromisoformat(lines[0].pop("timestamp")).tzinfo) == (entries[-1], UTC)
    assert lines[0] == {
        "parentUuid": None,
        "uuid": entries[0],
        "type": "user",
        "message": {"role": "user", "content": [dict(half.blocks[0])]},
        "cwd": "/work",
        "sessionId": "session",
    }


NOTE = {"type": "date", "date": "2026-11-29"}


@pytest.mark.parametrize(
    ("messages", "types"),
    [
        (FEW, ["user", "attachment", "assistant"]),
        (FEW[:1], ["user", "attachment"]),
        (FEW[1:], ["assistant"]),
    ],
)
def test_notes_follow_the_first_message(
    tmp_path: Path, messages: tuple[Message, ...], types: list[str]
) -> None:
    path = tmp_path / "session.jsonl"
    entries, tip = imports.write(imports.TranscriptFile(path, tmp_path, "x"), messages, [NOTE])
    lines = written(path)
    assert [line["type"] for line in lines] == types
    assert [line["parentUuid"] for line in lines[1:]] == [line["uuid"] for line in lines[:-1]]
    told = [line["attachment"] for line in lines if line["uuid"] not in entries]
    assert told == [NOTE] * types.count("attachment")
    assert tip == lines[-1]["uuid"]


def test_with_notes_a_file_can_hold_the_first_message_alone() -> None:
    assert imports.writable((say("Look"), CALL, RESULT), [NOTE]) == 1
    assert imports.writable((say("Well", "assistant"), say("Look"), CALL), [NOTE]) == 1
    assert imports.writable((CALL, RESULT), [NOTE]) == 0


def test_the_file_is_whole_and_its_owners_only(tmp_path: Path) -> None:
    place = imports.TranscriptFile(tmp_path / "projects" / "slug" / "session.jsonl", tmp_path, "x")
    for _ in range(2):
        entries = imports.write(place, FEW).entries
    assert [line["uuid"] for line in written(place.path)] == list(entries)
    assert S_IMODE(place.path.stat().st_mode) == 0o600
    unwritable = Message("user", ({"type": "text", "text": object()},))
    with pytest.raises(TypeError):
        imports.write(place, (unwritable,))
    assert list(place.path.parent.iterdir()) == [place.path]
    assert len(written(place.path)) == len(FEW)


@pytest.fixture
async def stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Stage]:
    async with staged_one_way(
        tmp_path,
        isolated(monkeypatch, tmp_path),
        caplog,
        keep=Keep(long=0),
        never_logged="dispatch by file failed",
        otherwise="the CLI no longer resumes a transcript written by claude/transcript/imports.py",
    ) as stage:
        yield stage


@pytest.mark.acceptance(22)
async def test_the_model_sees_what_was_written_word_for_word(stage: Stage) -> None:
    whole = await stage.answer(job("Who am I?", "import", feed=SIXTY))
    assert stage.blocks == blocks_of(*SIXTY, say("Who am I?"))
    assert len(whole.finished.entries) == len(SIXTY) + 2
    assert 0 < whole.cost < 0.01
    written = _entries(stage.dispatcher(), whole)
    assert [entry for entry in written if entry in whole.finished.entries] == list(
        whole.finished.entries
    )

    told = (*SIXTY, say("Who am I?"), say(whole.text, "assistant"))
    again = await stage.answer(job("And now?", "resume", after=whole))
    assert stage.blocks == blocks_of(*told, say("And now?"))
    assert again.session_id == whole.session_id
    assert 0 < again.cost < 2 * whole.cost

    at = len(SIXTY) // 2 + 1  # an answer in the middle
    await stage.answer(job("Else?", "fork", after=whole, entry=whole.finished.entries[at]))
    assert stage.blocks == blocks_of(*SIXTY[: at + 1], say("Else?"))


async def test_what_a_file_cannot_hold_is_fed(stage: Stage) -> None:
    big = Message("user", (found(3, "big " * 150_000),))
    head = (say("Hi", "assistant"), say("Look"), Message("assistant", (use(3),)), big, *FEW[1:])
    tail = (say("Look"), CALL)
    ask = Message("user", (found(1), found(2), TEXT))
    got = await stage.answer(job(ask, "import", feed=(*head, *tail)))
    assert stage.blocks == blocks_of(*head, *tail, ask)
    assert len(got.finished.entries) == len(head) + len(tail) + 2


class Fake:
    """The fake CLI in each of its moods."""

    def __init__(self, tmp_path: Path, inherited: dict[str, str]) -> None:
        self._plain = profile(tmp_path, inherited, cli=fake_cli(tmp_path))

    def dispatcher(self, mode: str, long: int) -> ClaudeDispatcher:
        changed = replace(self._plain, extra={"FAKE_CLI": mode})
        return ClaudeDispatcher(changed, Keep(long=long))

    def written(self, job: Job) -> list[str]:
        """The entries of the session's transcript, without the fake's own for its answer."""
        cwd = self._plain.work_dir("session")
        path = transcript_path(self._plain.config_dir, cwd, job.session_id)
        lines = path.read_text().splitlines() if path.exists() else []
        entries = [json.loads(line)["uuid"] for line in lines]
        return [entry for entry in entries if entry != "answer"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fake]:
    yield Fake(tmp_path, isolated(monkeypatch, tmp_path))
    assert children() == []


async def test_a_file_that_is_not_resumed_is_fed_instead(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = job("Well?", "import", feed=(*FEW, say("Private")))
    got = await answer(fake.dispatcher("refuses_resumes", 1), wanted)
    assert got.text == "Hello there"
    assert len(got.finished.entries) == 5
    assert fake.written(wanted) == []
    assert "dispatch by file failed, now by fed" in caplog.text
    assert "Private" not in caplog.text


async def test_a_cli_that_does_not_take_messages_over_resumes_a_file(fake: Fake) -> None:
    dispatcher = fake.dispatcher("answers_all", 1_000)
    for number in (1, 2):  # the second time it is known beforehand
        wanted = job("Well?", "import", feed=FEW)
        got = await answer(dispatcher, wanted)
        assert got.text == "Hello there"
        assert len(got.finished.entries) == 4
        assert fake.written(wanted) == list(got.finished.entries[:2]), number


@pytest.mark.parametrize(
    "changes", [{"memory": "none"}, {"feed": (say("Hi"), say("Look"))}], ids=["fleeting", "open"]
)
async def test_where_no_file_can_be_written_the_failure_is_told(
    fake: Fake, changes: dict[str, Any]
) -> None:
    wanted = job("Well?", "import", **{"feed": FEW} | changes)
    with pytest.raises(ClaudeFailed, match="did not take over"):
        await answer(fake.dispatcher("answers_all", 0), wanted)
    assert fake.written(wanted) == []


async def test_an_answer_that_breaks_off_is_not_asked_for_again(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ClaudeFailed, match="exit code 3"):
        await answer(fake.dispatcher("exit_3", 0), job("Well?", "import", feed=FEW))
    assert "now by fed" not in caplog.text


def _entries(dispatcher: ClaudeDispatcher, answer: Answer) -> list[str]:
    place = {name: Path(path) for name, path in dispatcher.location.items()}
    path = transcript_path(place["config_dir"], place["cwd"], answer.session_id)
    lines = path.read_text().splitlines()
    return [entry for line in lines if (entry := json.loads(line).get("uuid"))]
