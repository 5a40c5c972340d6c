"""Where the CLI works, and what becomes of transcripts where that changes."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sessionbridge.claude.profile import transcripts_folder
from sessionbridge.claude.work_dirs import is_work_dir, make, root, roots, sweep, work_dir
from tests.support.claude_cli import KEY, Stage, isolated, job, say, staged


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "ann" / ".sessionbridge"


@pytest.fixture
def taken(home: Path) -> Iterator[Path]:
    """Something else has the name."""
    path = root(home)
    path.touch()
    yield path
    path.unlink(missing_ok=True)


def test_the_path_names_neither_user_nor_home(home: Path) -> None:
    for memory in ("session", "none", "continue"):
        place = work_dir(root(home), memory)
        make(home, place)
        assert place.parts[:3] == ("/", "var", "tmp")
        assert not {"ann", ".sessionbridge", *home.parts[1:]} & {*place.parts[3:]}
        assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(place.parent.stat().st_mode)
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert (root(home) / "home").readlink() == home


def test_each_home_has_its_own_however_it_is_written(home: Path) -> None:
    assert root(home) == root(home.parent / "x" / ".." / home.name)
    assert root(home) != root(home.with_name("other"))


def test_a_link_to_somewhere_else_is_not_followed(home: Path, taken: Path) -> None:
    taken.unlink()
    taken.symlink_to(home.parent)
    assert root(home) == home / "work"


def test_what_has_the_name_leaves_the_one_in_the_home(home: Path, taken: Path) -> None:
    assert roots(home) == [home / "work", taken]
    taken.unlink()
    assert roots(home) == [taken, home / "work"]


def test_a_folder_of_another_user_is_not_used(home: Path, taken: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give a folder to somebody")
    taken.unlink()
    taken.mkdir()
    os.chown(taken, 65534, 65534)
    used = root(home)
    taken.rmdir()
    assert used == home / "work"


def test_which_working_directories_are_of_a_home(home: Path) -> None:
    ours = [one / name for one in roots(home) for name in ("claude", "continue")]
    others = [root(home), home, home / "work" / "x", work_dir(root(home.parent), "session")]
    assert [is_work_dir(home, cwd) for cwd in ours] == [True] * 4
    assert [is_work_dir(home, cwd) for cwd in others] == [False] * 4
    assert not is_work_dir(Path.cwd(), Path("work/claude"))


def test_those_of_homes_that_are_gone_are_taken_away(home: Path) -> None:
    homes = gone, there, used = [home.with_name(name) for name in ("gone", "there", "used")]
    for one in homes:
        make(one, work_dir(root(one), "session"))
    make(gone, work_dir(root(gone), "continue"))
    note = work_dir(root(used), "session") / "note"
    note.touch()
    gone.rmdir()
    used.rmdir()
    sweep()
    assert [root(one).exists() for one in homes] == [False, True, True]
    note.unlink()
    sweep()
    assert not root(used).exists()


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path), KEY) as stage:
        yield stage


async def test_a_conversation_goes_on_in_another_working_directory(stage: Stage) -> None:
    """There and back: as with an earlier version, or while the folder cannot be had."""
    nameless, home = roots(stage.profile.home)
    asked = [say("One."), say("Two."), say("Three.")]
    nameless.touch()
    last = await stage.answer(job(asked[0]))
    nameless.unlink()
    last = await stage.answer(job(asked[1], "resume", after=last))
    assert [words for role, words in stage.seen if role == "user"] == ["One.", "Two."]

    make(stage.profile.home, work_dir(nameless, "session"))
    nameless.rename(aside := nameless.with_name(f"{nameless.name}-aside"))
    nameless.touch()
    last = await stage.answer(job(asked[2], "resume", after=last))
    nameless.unlink()
    aside.rename(nameless)
    assert [words for role, words in stage.seen if role == "user"] == ["One.", "Two.", "Three."]
    config = stage.profile.config_dir
    assert not transcripts_folder(config, work_dir(nameless, "session")).exists()
    assert transcripts_folder(config, work_dir(home, "session")).is_dir()
