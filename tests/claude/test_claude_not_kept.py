"""A turn is over only when it is in a file: one that cannot be written to Claude's folder is told
as such, and not taken for said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.transcript.files import has_entry, holds, is_whole
from sessionbridge.errors import SessionLost, StoreUnavailable
from tests.support.claude_cli import Stage, answer, children, job
from tests.support.live_processes import ANN, stage, transcripts, turn_of

__all__ = ["stage"]


async def test_a_first_turn_that_cannot_be_written_is_told(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "projects"
    folder.parent.mkdir()
    folder.write_text("no folder")
    stage.keep = Keep(live=1)
    dispatcher = stage.dispatcher()
    with pytest.raises(StoreUnavailable, match=r"could not be kept, because Claude's file .*jsonl"):
        await answer(dispatcher, job("My name is Ann"))
    assert children() == []
    folder.unlink()
    assert (await answer(dispatcher, job("My name is Ann"))).text == "Nice to meet you, Ann!"
    await dispatcher.close()


async def test_what_was_committed_before_is_gone_on_from(stage: Stage, tmp_path: Path) -> None:
    stage.keep = Keep(live=1)
    dispatcher = stage.dispatcher()
    first = await answer(dispatcher, job("My name is Ann"))
    (path,) = transcripts(tmp_path).values()
    aside = shutil.move(path.parent, tmp_path / "aside")
    path.parent.write_text("no folder")
    lost = job("This is lost", "resume", after=first)
    with pytest.raises(SessionLost):
        await answer(dispatcher, lost)
    path.parent.unlink()
    shutil.move(aside, path.parent)
    second = await answer(dispatcher, job("Who am I?", "resume", after=first))
    assert second.text == "Your name is Ann."
    assert stage.seen == [*ANN, turn_of("Who am I?")[0]]
    await dispatcher.close()


def test_an_entry_is_found_wherever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "transcript.jsonl"
    assert not has_entry(file, "first")
    file.write_bytes(b'{"uuid":"first"}\n' + b"x" * 1_000_000 + b'\n{"uuid":"last"}\n')
    assert [has_entry(file, entry) for entry in ("first", "last", "none")] == [True, True, False]


def chained(*entries: str) -> bytes:
    """Each follows the one before it."""
    parents = [None, *entries]
    told = zip(entries, parents, strict=False)
    lines = (json.dumps({"uuid": entry, "parentUuid": parent}) for entry, parent in told)
    return "".join(f"{line}\n" for line in lines).encode()


def test_all_that_an_entry_follows_has_to_be_there() -> None:
    lines = chained("a", "b", "c", "d").splitlines()
    assert is_whole(b"\n".join(lines), "d", None)
    for missing in range(4):
        left = b"\n".join(line for number, line in enumerate(lines) if number != missing)
        assert not is_whole(left, "d", None)
        assert is_whole(left, "d", "b") == (missing in (0, 1))
    cut = b"\n".join([*lines[:2], lines[2][:-20], lines[3]])
    assert not is_whole(cut, "d", None)


def test_a_long_one_is_read_from_its_end(tmp_path: Path) -> None:
    file = tmp_path / "transcript.jsonl"
    assert not holds(file, "c", None)
    first, *rest = chained("a", "b", "c").splitlines(keepends=True)
    file.write_bytes(first + b"x" * 1_000_000 + b"\n" + b"".join(rest))
    assert holds(file, "c", "a") and holds(file, "c", None)
    file.write_bytes(b"x" * 1_000_000 + b"\n" + b"".join(rest))
    assert not holds(file, "c", None)


async def test_a_turn_of_which_a_part_is_missing_is_told(stage: Stage, tmp_path: Path) -> None:
    """As when the disk is full for a moment: the answer is there, and what was asked is not."""
    stage.keep = Keep(live=1)
    dispatcher = stage.dispatcher()
    first = await answer(dispatcher, job("My name is Ann"))
    (path,) = transcripts(tmp_path).values()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    asked = next(line for line in lines if b"My name is Ann" in line and b'"user"' in line)
    path.write_bytes(whole.replace(asked, b""))
    with pytest.raises(SessionLost):
        await answer(stage.dispatcher(), job("Who am I?", "resume", after=first))
    await dispatcher.close()
