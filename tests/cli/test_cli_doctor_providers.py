"""What `sessionbridge doctor` says of the Claude accounts that the proxy's config names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sessionbridge.cli.main import cli
from sessionbridge.sessions.store.places import VARIABLE
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


def test_what_the_proxys_configuration_gives_the_cli_is_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the account of this machine, and by no other."""
    monkeypatch.setenv("OWN_KEY", "sk-ant-own")
    (place.confdir / "config.yaml").write_text("sessionbridge_claude_env: [OWN_KEY]")
    seen = place.claude.with_suffix(".seen")
    for name, key in (("claude", "sk-ant-own"), ("team", None)):
        place.findings("--config", str(written(place, f"[providers.{name}]\nlive = 1")))
        assert json.loads(seen.read_text()).get("OWN_KEY") == key
    place.claude = place.stand_in(status='{"loggedIn": false}')
    file = written(place, "[providers.claude]\nlive = 1")
    found = place.findings("--config", str(file))["Provider claude"]
    assert "the proxy is started with is not seen here" in found["advice"]


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_provider_that_is_for_a_client_nobody_knows(
    place: Place, engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(place, '[providers.team]\nfor_clients = ["ann", "bob"]')
    if engine == "postgres":
        monkeypatch.setenv(VARIABLE, request.getfixturevalue("database"))
    found = place.findings("--config", str(file))["Clients"]
    assert (found["status"], "there are none" in found["found"]) == ("warning", True)
    for name, told in (("bob", "names ann, which is no client: there are bob"), ("ann", None)):
        command = ["--home", str(place.home), "clients", "add", name]
        assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
        findings = place.findings("--config", str(file))
        assert told is None or told in findings["Clients"]["found"]
    assert "Clients" not in findings


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
