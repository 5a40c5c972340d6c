"""Where the CLI works, and what becomes of transcripts of before that was chosen."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sessionbridge.claude import work_dirs
from sessionbridge.claude.profile import transcripts_folder
from sessionbridge.claude.work_dirs import (
    before,
    chosen,
    is_work_dir,
    make,
    root,
    sweep,
    taken_over,
    work_dir,
)
from sessionbridge.errors import ClaudeFailed
from tests.support.claude_cli import KEY, Stage, isolated, job, say, staged


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "ann" / ".sessionbridge"


def test_the_path_names_neither_user_nor_home(home: Path) -> None:
    assert root(home) == before(home) == home / "work"
    for memory in ("session", "none", "continue"):
        place = work_dir(chosen(home), memory)
        make(home, place)
        assert place.parts[:3] == ("/", "var", "tmp")
        assert not {"ann", ".sessionbridge", *home.parts[1:]} & {*place.parts[3:]}
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert (root(home) / "home").readlink() == home


def test_it_is_chosen_once(home: Path) -> None:
    """By whichever of several is the first, and the others leave nothing."""
    with ThreadPoolExecutor() as threads:
        (first,) = set(threads.map(lambda _: chosen(home), range(8)))
    assert chosen(home) == root(home) == first
    links = [path for path in Path("/var/tmp").glob("sessionbridge-*/home") if path.is_symlink()]
    assert [link.parent for link in links if link.readlink() == home] == [first]
    assert [path.name for path in home.iterdir()] == ["work_dir"]


def test_where_none_can_be_made_it_stays_in_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_dirs, "_BESIDE", home / "nowhere")
    assert chosen(home) == home / "work"
    monkeypatch.undo()
    assert chosen(home) == home / "work"
    make(home, work_dir(root(home), "session"))
    assert (home / "work" / "claude").is_dir()


def test_one_that_was_cleaned_away_is_made_anew(home: Path) -> None:
    place = work_dir(chosen(home), "session")
    make(home, place)
    shutil.rmtree(place.parent)
    make(home, place)
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert (place.parent / "home").is_symlink()


@pytest.mark.parametrize("how", ["a link", "open to all", "a file"])
def test_what_has_its_name_since_is_not_used(home: Path, tmp_path: Path, how: str) -> None:
    place = work_dir(chosen(home), "session")
    shutil.rmtree(place.parent)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    match how:
        case "a link":
            place.parent.symlink_to(theirs)
        case "open to all":
            place.parent.mkdir()
            place.parent.chmod(0o777)
        case _:
            place.parent.touch()
    with pytest.raises((ClaudeFailed, FileExistsError), match="sessionbridge-"):
        make(home, place)
    assert list(theirs.iterdir()) == []
    place.parent.rmdir() if how == "open to all" else place.parent.unlink()


def test_the_mode_of_a_home_stays(home: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o750)
    make(home, work_dir(chosen(home), "session"))
    assert stat.S_IMODE(home.stat().st_mode) == 0o750


def test_which_working_directories_are_of_a_home(home: Path) -> None:
    ours = [one / name for one in (chosen(home), before(home)) for name in ("claude", "continue")]
    others = [root(home), home, home / "work" / "x", work_dir(chosen(home.parent), "session")]
    assert [is_work_dir(home, cwd) for cwd in ours] == [True] * 4
    assert [is_work_dir(home, cwd) for cwd in others] == [False] * 4
    assert not is_work_dir(Path.cwd(), Path("work/claude"))


def test_those_of_homes_that_are_gone_are_taken_away(home: Path) -> None:
    homes = gone, there, used = [home.with_name(name) for name in ("gone", "there", "used")]
    for one in homes:
        make(one, work_dir(chosen(one), "session"))
    make(gone, work_dir(chosen(gone), "continue"))
    roots = [root(one) for one in homes]
    note = work_dir(root(used), "session") / "note"
    note.touch()
    shutil.rmtree(gone)
    shutil.rmtree(used)
    sweep()
    assert [one.exists() for one in roots] == [False, True, True]
    note.unlink()
    sweep()
    assert not roots[2].exists()


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path), KEY) as stage:
        yield stage


def test_homes_that_share_conversations_work_in_the_folder_that_the_first_has_chosen(
    home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "ben" / ".sessionbridge"
    common, own = chosen(home), chosen(other)
    make(home, work_dir(common, "session"))
    assert taken_over(other, common) == chosen(other) == root(other) == common
    assert not own.exists(), "nobody has worked there"
    make(other, work_dir(common, "session"))
    assert (common / "home").readlink() == home
    shutil.rmtree(home)
    make(other, work_dir(common, "session"))
    sweep()
    assert work_dir(common, "session").is_dir(), "the other works there still"
    for elsewhere in (Path("/srv/work"), Path("/var/tmp/another")):
        assert taken_over(other, elsewhere) == common, "no folder of anybody's choice"


async def test_a_conversation_of_before_goes_on(stage: Stage) -> None:
    """With what has its name in the folder of now left as it is."""
    home, config = stage.profile.home, stage.profile.config_dir
    home.mkdir()
    (home / "work_dir").write_text(str(before(home)))
    first = await stage.answer(job(say("One.")))
    (home / "work_dir").unlink()
    old = transcripts_folder(config, work_dir(before(home), "session"))
    new = transcripts_folder(config, work_dir(chosen(home), "session"))
    new.mkdir()
    for folder in (old, new):
        (folder / "twice.jsonl").write_text(folder.name)
    await stage.answer(job(say("Two."), "resume", after=first))
    assert [words for role, words in stage.seen if role == "user"] == ["One.", "Two."]
    assert (new / "twice.jsonl").read_text() == new.name


async def test_transcripts_that_cannot_be_brought_along_are_told_of(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Other conversations go on."""
    config, home = stage.profile.config_dir, stage.profile.home
    old = transcripts_folder(config, work_dir(before(home), "session"))
    new = transcripts_folder(config, work_dir(chosen(home), "session"))
    old.mkdir(parents=True)
    (old / "some.jsonl").touch()
    new.symlink_to(config / "nowhere")
    answer = await stage.answer(job(say("One."), memory="none"))
    assert answer.text
    assert "were not brought from" in caplog.text
    assert os.listdir(old) == ["some.jsonl"]
