"""What the bridge leaves in its home for the Claude CLI: nothing of it is open to others, and no
prompt stays for good."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from stat import S_IMODE

import pytest

from sessionbridge.claude.profile import ClaudeProfile
from tests.support.claude_cli import answer, job
from tests.support.live_processes import fake, serving

__all__ = ["fake"]


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
    folders = (fake.work_dir("session"), fake.temporary_dir, fake.home / "run")
    assert [S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 3


async def test_a_prompt_that_a_killed_proxy_left_is_swept(fake: ClaudeProfile) -> None:
    run = fake.home / "run"
    run.mkdir(parents=True)
    left, starting = run / "system-left.txt", run / "system-starting.txt"
    for prompt in (left, starting):
        prompt.write_text("You are a cat.")
    os.utime(left, (time.time() - 3600, time.time() - 3600))
    async with serving(fake) as dispatcher:
        await answer(dispatcher, job("Hi"))
    assert list(run.iterdir()) == [starting]
    starting.unlink()
