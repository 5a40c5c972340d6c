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
from sessionbridge.claude.profile import ClaudeProfile, transcripts_folder
from sessionbridge.claude.work_dirs import (
    before,
    chosen,
    is_work_dir,
    make,
    root,
    sweep,
    take_over,
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
    assert homes_of(root(home)) == [home]


def homes_of(folder: Path) -> list[Path]:
    """Whose it says it is."""
    return sorted(link.readlink() for link in folder.glob("home*"))


def test_it_is_chosen_once(home: Path) -> None:
    """By whichever of several is the first, and the others leave nothing."""
    with ThreadPoolExecutor() as threads:
        (first,) = set(threads.map(lambda _: chosen(home), range(8)))
    assert chosen(home) == root(home) == first
    folders = Path("/var/tmp").glob("sessionbridge-*")
    assert [folder for folder in folders if home in homes_of(folder)] == [first]
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
    assert homes_of(place.parent) == [home]


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


def profile(home: Path, common: Path | None = None) -> ClaudeProfile:
    """Of a proxy that is alone, or one of several nodes, which work there."""
    config = {"CLAUDE_CONFIG_DIR": str(home.parent / "config")}
    told = None if common is None else lambda own: str(common)
    return ClaudeProfile(home, None, {}, 0, config, told)


def test_nodes_work_in_the_folder_that_the_first_has_chosen(home: Path, tmp_path: Path) -> None:
    """And whoever is alone again, where it did before."""
    other = tmp_path / "ben" / ".sessionbridge"
    common, own = (work_dir(chosen(one), "session") for one in (home, other))
    assert profile(other, common.parent).work_dir("session") == common
    assert not is_work_dir(other, common)
    make(other, common)
    assert is_work_dir(other, common) and is_work_dir(other, own)
    assert profile(other).work_dir("session") == own
    for elsewhere in (Path("/srv/work"), Path("/var/tmp/another")):
        found = profile(other, elsewhere).work_dir("session")
        assert found == own, "no folder of anybody's choice"


@pytest.mark.parametrize("how", ["works there", "takes it over"])
def test_a_folder_is_kept_for_each_home_that_works_there(
    home: Path, tmp_path: Path, how: str
) -> None:
    other = tmp_path / "ben" / ".sessionbridge"
    common = chosen(home)
    assert chosen(other) != common
    if how == "works there":
        make(other, work_dir(common, "session"))
    else:
        take_over(other, common)
        assert chosen(other) == root(other) == common
    shutil.rmtree(home)
    sweep()
    assert homes_of(common) == sorted([home, other])
    shutil.rmtree(other)
    sweep()
    assert not common.exists()


@pytest.mark.parametrize("elsewhere", ["/srv/work", "/var/tmp/another"])
def test_no_folder_of_anybodys_choice_is_taken_over(home: Path, elsewhere: str) -> None:
    own = chosen(home)
    take_over(home, Path(elsewhere))
    assert root(home) == own


def test_transcripts_of_before_are_the_homes_own(home: Path, tmp_path: Path) -> None:
    """Also where it is a node: those of nodes are in their database. What has gone on since is
    not there twice."""
    common = chosen(tmp_path / "ben" / ".sessionbridge")
    one = profile(home, common)
    old = transcripts_folder(one.config_dir, work_dir(before(home), "session"))
    new = transcripts_folder(one.config_dir, work_dir(chosen(home), "session"))
    for folder, said in ((old, "one\n"), (new, "one\ntwo\n")):
        folder.mkdir(parents=True)
        (folder / "gone-on.jsonl").write_text(said)
    (old / "some.jsonl").touch()
    assert one.transcripts == transcripts_folder(one.config_dir, work_dir(common, "session"))
    assert profile(home).transcripts == new
    assert sorted(os.listdir(new)) == ["gone-on.jsonl", "some.jsonl"]
    assert (new / "gone-on.jsonl").read_text() == "one\ntwo\n"
    assert not old.exists()


async def test_who_was_a_node_goes_on_alone(stage: Stage, tmp_path: Path) -> None:
    common = str(chosen(tmp_path / "ben" / ".sessionbridge"))
    first = await stage.answer(job(say("One.")))
    await stage.answer(job(say("Elsewhere.")), common=lambda own: common)
    await stage.answer(job(say("Two."), "resume", after=first))
    assert [words for role, words in stage.seen if role == "user"] == ["One.", "Two."]


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
