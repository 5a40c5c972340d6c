"""What the bridge leaves in its home for the Claude CLI, and the CLI there and in the user's own
folder: nothing of it is open to others, no prompt stays for good, and nothing piles up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest

from sessionbridge.claude.cli.leftovers import user_folder
from sessionbridge.claude.profile import ClaudeProfile
from tests.support.claude_cli import KEY, Stage, answer, job
from tests.support.live_processes import fake, only_child, serving, stage

__all__ = ["fake", "stage"]


@pytest.fixture
def open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_to_all")
@pytest.mark.parametrize("there", [False, True])
async def test_its_folders_are_for_the_owner_alone(fake: ClaudeProfile, there: bool) -> None:
    if there:
        fake.work_dir("session").mkdir(parents=True)
    async with serving(fake) as dispatcher:
        await answer(dispatcher, job("Hi"))
    folders = (fake.work_dir("session"), fake.temporary_dir)
    assert [S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 2


async def test_a_prompt_that_an_earlier_version_left_is_swept(fake: ClaudeProfile) -> None:
    run = fake.home / "run"
    run.mkdir(parents=True)
    left, starting = run / "system-left.txt", run / "system-starting.txt"
    for prompt in (left, starting):
        prompt.write_text("You are a cat.")
    os.utime(left, (time.time() - 3600, time.time() - 3600))
    async with serving(fake) as dispatcher:
        await answer(dispatcher, job("Hi"))
    assert list(run.iterdir()) == [starting]


# --- what the real one leaves -------------------------------------------------------------------


def left_by_processes(profile: ClaudeProfile) -> list[Path]:
    """All but what there is once: folders, settings, transcripts."""
    records = profile.config_dir.glob("sessions/*")
    return [*records, *profile.temporary_dir.glob("cc-socks/*")]


def probes(profile: ClaudeProfile) -> list[Path]:
    return [*profile.temporary_dir.glob("claude*/fswatch-probe-*")]


def age(path: Path) -> None:
    os.utime(path, (time.time() - 3600, time.time() - 3600))


@pytest.mark.parametrize("credentials", [{}, KEY], ids=["login", "key"])
async def test_a_process_that_was_killed_leaves_nothing(
    stage: Stage, credentials: dict[str, str]
) -> None:
    profile = replace(stage.profile, extra=stage.extra | credentials)
    async with serving(profile, live=1) as dispatcher:
        await answer(dispatcher, job("Hi"))
        assert left_by_processes(profile)
        os.kill(only_child(), signal.SIGKILL)
    assert left_by_processes(profile) == []


async def test_what_a_killed_proxy_left_is_swept_at_the_next_start(stage: Stage) -> None:
    profile = stage.profile
    kept = profile.home.parent / "kept"
    async with serving(profile, live=1) as dispatcher:
        await answer(dispatcher, job("Hi"))
        shutil.copytree(profile.config_dir / "sessions", kept)
        os.kill(only_child(), signal.SIGKILL)
    shutil.copytree(kept, profile.config_dir / "sessions", dirs_exist_ok=True)
    # A CLI that is left that long takes its own away, so that there may be none on a busy machine.
    (user_folder(profile.temporary_dir) / "fswatch-probe-left").mkdir()
    for probe in probes(profile):
        age(probe)
    assert len(left_by_processes(profile)) == 2

    async with serving(profile) as dispatcher:
        await answer(dispatcher, job("Hi"))
    assert left_by_processes(profile) == []
    assert len(probes(profile)) <= 1  # of the process that has just ended


def record(profile: ClaudeProfile, pid: int, cwd: Path, **told: Any) -> list[Path]:
    """As a CLI with another home leaves it."""
    sessions = profile.config_dir / "sessions"
    sessions.mkdir(parents=True, exist_ok=True)
    namespace = f"linux:machine:{os.readlink('/proc/self/ns/pid')}"
    file, key = sessions / f"{pid}.json", sessions / f"{pid}.{'0' * 64}.key"
    about = {"pid": pid, "cwd": str(cwd), "pidDomain": namespace, **told}
    file.write_text(json.dumps(about))
    key.touch()
    return [file, key]


async def test_what_is_anothers_stays(fake: ClaudeProfile) -> None:
    """Its user's own folder, in which other programs keep their records too."""
    ours, alive, ended = fake.work_dir("session").resolve(), os.getpid(), 4_194_303
    socket = fake.home.parent / f"{ended}.sock"
    socket.touch()
    theirs = [
        *record(fake, ended, fake.home.parent, messagingSocketPath=str(socket)),
        *record(fake, alive, ours),
        *record(fake, ended - 1, ours, pidDomain="linux:another:pid:[1]"),
    ]
    for name, text in {"1.json": "{", "2.json": "[]", "3.json": '{"pid": 4}'}.items():
        (fake.config_dir / "sessions" / name).write_text(text)
        theirs.append(fake.config_dir / "sessions" / name)
    young = fake.temporary_dir / f"claude-{os.getuid()}" / "fswatch-probe-young"
    young.mkdir(parents=True)

    async with serving(fake, live=1) as dispatcher:
        await answer(dispatcher, job("Hi"))
    assert [path for path in [*theirs, socket, young] if not path.exists()] == []
