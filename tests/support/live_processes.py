"""Dispatchers that keep processes, of the real CLI or of a stand-in that starts sooner."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.profile import ClaudeProfile
from sessionbridge.model import Usage
from tests.support.claude_cli import (
    Answer,
    Stage,
    children,
    fake_cli,
    isolated,
    profile,
    staged,
    until,
)

ANN = [("user", "My name is Ann"), ("assistant", "Nice to meet you, Ann!")]


def turn_of(asked: str) -> list[tuple[str, str]]:
    return [("user", asked), ("assistant", "Your name is Ann.")]


ASKED = [*ANN, *turn_of("Who am I?")]


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        yield stage


@asynccontextmanager
async def serving(
    profile: ClaudeProfile, *, room: bool = True, **keep: Any
) -> AsyncIterator[ClaudeDispatcher]:
    """A dispatcher that leaves no process when it is closed."""
    dispatcher = ClaudeDispatcher(profile, Keep(**keep), lambda: room)
    try:
        yield dispatcher
    finally:
        await dispatcher.close()
        left = children()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: children() == [])
    assert left == []


def only_child() -> int:
    (pid,) = children()
    return pid


def gone(pid: int) -> bool:
    return pid not in children()


def kind(turn: Answer) -> str:
    return turn.dispatched.process


def price(usage: Usage) -> float:
    """US dollars, of the model that tests use."""
    fresh = usage.input_tokens * 3 + usage.output_tokens * 15
    cached = usage.cache_creation_input_tokens * 3.75 + usage.cache_read_input_tokens * 0.3
    return (fresh + cached) / 1e6


def transcripts(tmp_path: Path) -> dict[str, Path]:
    return {path.stem: path for path in (tmp_path / "config").rglob("*.jsonl")}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ClaudeProfile:
    return profile(tmp_path, isolated(monkeypatch, tmp_path), cli=fake_cli(tmp_path))


def moody(fake: ClaudeProfile, tmp_path: Path) -> tuple[ClaudeProfile, Callable[[str], Any]]:
    """One whose mood can be set for all that are started from then on."""
    program, mood = tmp_path / "moody", tmp_path / "mood"
    program.write_text(f'#!/bin/sh\nFAKE_CLI=$(cat {mood}) exec {fake.cli} "$@"\n')
    program.chmod(0o755)
    mood.write_text("answer")
    return replace(fake, cli=program), mood.write_text


def with_transcript(profile: ClaudeProfile, session_id: str) -> Path:
    """The stand-in writes none, and its answers are the entry `answer`."""
    path = profile.transcript(session_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"parentUuid":null,"uuid":"answer"}\n')
    return path
