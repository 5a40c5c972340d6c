"""What `sessionbridge doctor` says of the Claude accounts that the proxy's config names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.doctor_fixtures import Place, ca, place

__all__ = ["ca", "place"]


def written(place: Place, text: str) -> Path:
    file = place.folder / "config.toml"
    file.write_text(text)
    return file


def test_each_is_asked_in_its_own_environment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_TWO", "sk-ant-two")
    folder = place.folder / "team"
    file = written(
        place,
        f'[providers.team]\nconfig_dir = "{folder}"\n'
        '[providers.lost]\nenv = { ANTHROPIC_API_KEY = "env:NOWHERE" }\n'
        '[providers.gone]\nclaude = "/nowhere/claude"\n'
        '[providers.key]\nenv = { ANTHROPIC_API_KEY = "env:KEY_TWO" }\n',
    )
    found = place.findings("--config", str(file))
    assert {name: found[f"Provider {name}"]["status"] for name in ("team", "key")} == {
        "team": "ok",
        "key": "ok",
    }
    assert "the variable NOWHERE, which is not set" in found["Provider lost"]["found"]
    assert found["Provider gone"]["found"] == "no CLI at /nowhere/claude"
    seen = json.loads(place.claude.with_suffix(".seen").read_text())  # by the last that was asked
    assert seen["ANTHROPIC_API_KEY"] == "sk-ant-two" and "KEY_TWO" not in seen


def test_one_that_is_not_logged_in(place: Place) -> None:
    place.claude = place.stand_in(status='{"loggedIn": false}')
    file = written(place, f'[providers.team]\nconfig_dir = "{place.folder}"')
    found = place.findings("--config", str(file))["Provider team"]
    assert found["status"] == "problem" and found["found"].startswith("not logged in")
    assert f"CLAUDE_CONFIG_DIR={place.folder} " in found["advice"]


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("[providers.a]\nfallback = ['b']", "problem", "fallback names 'b', which is none"),
        ("[models]", "ok", "names no providers"),
    ],
)
def test_the_file_itself(place: Place, text: str, status: str, said: str) -> None:
    found = place.findings("--config", str(written(place, text)))["Config"]
    assert found["status"] == status and said in found["found"]
