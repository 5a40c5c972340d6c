"""What `sessionbridge doctor` says of redirections and of Claude's own settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.claude_cli import isolated, job, staged
from tests.support.doctor_fixtures import Place, ca, place
from tests.support.proxy import free_port

__all__ = ["ca", "place"]


def test_what_the_shell_redirects_does_not_reach_the_cli(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://user:word@127.0.0.1:8080")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:8080")
    monkeypatch.setenv("ALL_PROXY", "")
    found = place.findings()["Loop guard"]
    assert found["status"] == "ok"
    assert found["found"].startswith("ANTHROPIC_BASE_URL, https_proxy in this shell")
    assert "known by a mark" in found["found"]
    assert "word" not in place.run().output


def test_what_claudes_settings_redirect_is_a_warning(place: Place) -> None:
    place.settings('{"env": {"HTTPS_PROXY": "http://user:word@127.0.0.1:8080", "OTHER": "1"}}')
    found = place.findings()["Loop guard"]
    assert found["status"] == "warning"
    assert found["found"].startswith("HTTPS_PROXY in the env of ")
    assert "word" not in place.run().output


async def test_the_bridges_claude_reads_no_settings_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Or what doctor says of them would be wrong."""
    inherited = isolated(monkeypatch, tmp_path)
    nowhere = f"http://127.0.0.1:{free_port()}"
    redirected = dict.fromkeys(("ANTHROPIC_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.json").write_text(json.dumps({"env": redirected}))
    async with staged(tmp_path, inherited) as stage:
        told = await stage.answer(job("My name is Bob."))
    assert told.text == "Nice to meet you, Bob!"


@pytest.mark.parametrize("content", ["{", "[]", '"env"'])
def test_settings_nobody_can_read_are_a_warning(place: Place, content: str) -> None:
    place.settings(content)
    found = place.findings()
    assert found["Claude settings"]["status"] == "warning"
    assert found["Loop guard"]["status"] == "ok"
    assert "Retention" not in found


@pytest.mark.parametrize(
    ("settings", "last_used", "status"),
    [
        ("{}", 29, "ok"),
        ("{}", 31, "warning"),
        ('{"cleanupPeriodDays": 90}', 31, "ok"),
        ('{"cleanupPeriodDays": 90}', 91, "warning"),
        ('{"cleanupPeriodDays": 29}', 1, "warning"),
        ('{"cleanupPeriodDays": "long"}', 1, "warning"),
        ('{"cleanupPeriodDays": true}', 1, "warning"),
        ('{"env": []}', 1, "ok"),
    ],
)
def test_transcripts_kept_for_a_shorter_time_than_conversations_are_a_warning(
    place: Place, settings: str, last_used: float, status: str
) -> None:
    place.settings(settings)
    place.used(last_used)
    assert place.findings()["Retention"]["status"] == status
