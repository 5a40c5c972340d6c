from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.profile import config_dir, transcript_path
from sessionbridge.claude.transcript.files import (
    cost_at,
    cost_so_far,
    newest_transcript,
)
from sessionbridge.errors import SessionLost


def cost(dollars: Any) -> dict[str, Any]:
    return {"type": "cost-state", "totalCostUSD": dollars}


USER = {"type": "user", "message": {"content": 'he said "cost-state"'}}
QUOTING = {"type": "assistant", "message": {"content": [{"name": "cost-state"}]}}


@pytest.mark.parametrize(
    ("entries", "dollars"),
    [
        ([], 0.0),
        ([USER], 0.0),
        ([cost(0.5)], 0.5),
        ([cost(0.5), USER, cost(0.75), USER], 0.75),
        ([cost(0.5), QUOTING, USER], 0.5),
        ([QUOTING], 0.0),
        ([cost(None)], 0.0),
        ([cost(2)], 2.0),
    ],
)
def test_the_last_cost_entry_counts(
    tmp_path: Path, entries: list[dict[str, Any]], dollars: float
) -> None:
    transcript = tmp_path / "t.jsonl"
    transcript.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert cost_so_far(transcript) == dollars


@pytest.mark.parametrize(
    "tail", [b'{"type":"cost-state","totalCo', b'"cost-state"', b'["cost-state"]\n', b"\xff\n"]
)
def test_a_line_cut_off_by_a_kill_is_passed_over(tmp_path: Path, tail: bytes) -> None:
    transcript = tmp_path / "t.jsonl"
    transcript.write_bytes(json.dumps(cost(0.5)).encode() + b"\n" + tail)
    assert cost_so_far(transcript) == 0.5


def test_what_it_goes_on_from_is_there_or_the_session_is_lost(tmp_path: Path) -> None:
    transcript = tmp_path / "t.jsonl"
    with pytest.raises(SessionLost):
        cost_at(transcript, "e1")
    first = {"uuid": "e1", "parentUuid": None}
    transcript.write_text(json.dumps(first) + "\n" + json.dumps(cost(0.5)) + "\n")
    assert cost_at(transcript, "e1") == 0.5
    with pytest.raises(SessionLost):
        cost_at(transcript, "e2")
    transcript.write_text(json.dumps({"uuid": "e3", "parentUuid": "e2"}) + "\n")
    with pytest.raises(SessionLost):  # what a process wrote that outlived its transcript
        cost_at(transcript, "e3")


def test_no_transcript_costs_nothing(tmp_path: Path) -> None:
    assert cost_so_far(None) == 0.0
    assert cost_so_far(tmp_path / "absent.jsonl") == 0.0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CLAUDE_CONFIG_DIR": "/c", "HOME": "/h"}, "/c"),
        ({"CLAUDE_CONFIG_DIR": "", "HOME": "/h"}, "/h/.claude"),
        ({"HOME": "/h"}, "/h/.claude"),
    ],
)
def test_the_config_folder_follows_the_environment(
    environment: dict[str, str], expected: str
) -> None:
    assert config_dir(environment) == Path(expected)


def test_without_any_environment_it_is_the_users_own() -> None:
    assert config_dir({}) == Path.home() / ".claude"


def test_the_newest_transcript_of_a_folder_is_found(tmp_path: Path) -> None:
    cwd = tmp_path / "work"
    assert newest_transcript(tmp_path, cwd) is None
    paths = [transcript_path(tmp_path, cwd, name) for name in ("old", "new", "older")]
    paths[0].parent.mkdir(parents=True)
    for path, age in zip(paths, (2, 1, 3), strict=True):
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    assert newest_transcript(tmp_path, cwd) == paths[1]
    assert newest_transcript(tmp_path, tmp_path / "elsewhere") is None
