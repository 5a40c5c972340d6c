"""What `sessionbridge doctor` says of Python, mitmproxy and the Claude CLI."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sessionbridge.claude.cli.login import find_cli
from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.cli.checks import programs
from sessionbridge.cli.main import cli
from sessionbridge.errors import SettingRefused
from tests.support.doctor_fixtures import Place, ca, place
from tests.support.proxy import ROOT

__all__ = ["ca", "place"]


def test_the_versions_asked_for_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (oldest, untried) = programs.MITMPROXY
    (wanted,) = [line for line in project["dependencies"] if line.startswith("mitmproxy")]
    assert wanted == f"mitmproxy>={'.'.join(map(str, oldest))},<{untried[0]}"
    assert project["requires-python"] == f">={'.'.join(map(str, programs.OLDEST_PYTHON))}"


def test_a_python_without_mitmproxys_programs_is_a_problem(tmp_path: Path) -> None:
    finding = programs.check_mitmproxy(tmp_path)
    assert finding.status == "problem"
    assert "without mitmdump and mitmweb" in finding.found


def test_an_addon_that_cannot_be_loaded_is_a_problem(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brotli.py").write_text("raise ModuleNotFoundError('No module named brotli')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = place.findings()["Addon"]
    assert found["status"] == "problem"
    assert found["found"] == "cannot be loaded: ModuleNotFoundError: No module named brotli"
    assert "pip install" in found["advice"]


def test_the_real_cli_tells_its_version_and_that_nobody_is_logged_in(place: Place) -> None:
    real = find_cli(None)
    assert real is not None
    place.claude = real
    found = place.findings()
    assert re.fullmatch(rf"\d+\.\d+\.\d+ at {re.escape(str(real))}", found["Claude CLI"]["found"])
    assert found["Claude login"]["status"] == "problem"
    assert "auth login" in found["Claude login"]["advice"]
    assert found["Turn settings"]["status"] == "ok"


def test_a_cli_that_takes_no_settings_while_it_runs_is_told_of(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(cli: CliProcess, request: Mapping[str, Any]) -> None:
        raise SettingRefused("The Claude CLI does not take it.")

    monkeypatch.setattr(CliProcess, "set", refuses)
    found = place.findings()["Turn settings"]
    assert found["status"] == "warning"
    assert "The Claude CLI does not take it." in found["found"]
    assert "start a process each" in found["advice"]


def test_the_cli_is_run_with_the_environment_its_turns_have(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-dummy")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    programs.check_claude(place.claude, {"PATH": "/bin", "ANTHROPIC_API_KEY": "sk-ant-dummy"})
    seen = json.loads(place.claude.with_suffix(".seen").read_text())
    assert seen["DISABLE_AUTOUPDATER"] == "1"
    assert not {"ANTHROPIC_API_KEY", "HTTPS_PROXY"} & seen.keys()


def test_without_a_cli_the_login_is_not_asked_for(place: Place) -> None:
    place.claude.unlink()
    found = place.findings()
    assert found["Claude CLI"]["status"] == "problem"
    assert str(place.claude) in found["Claude CLI"]["found"]
    assert "Claude login" not in found


@pytest.mark.parametrize(
    ("version", "word"), [("1.0.3 (Claude Code)", "too old"), ("hello", "--version")]
)
def test_a_cli_that_will_not_do_is_a_problem(place: Place, version: str, word: str) -> None:
    place.stand_in(version)
    found = place.findings()["Claude CLI"]
    assert found["status"] == "problem"
    assert word in found["advice"]


def test_run_says_what_doctor_says_of_the_cli(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, command: started.append(command))
    monkeypatch.setattr(programs, "find_cli", lambda named: place.claude)
    command = ["--home", str(place.home), "run", "--dump", "--confdir", str(place.confdir)]

    assert "Claude" not in CliRunner().invoke(cli, command, catch_exceptions=False).stderr
    place.stand_in("1.0.3 (Claude Code)")
    found = place.findings()["Claude CLI"]
    said = CliRunner().invoke(cli, command, catch_exceptions=False).stderr
    assert f"Claude CLI: {found['found']}\n→ {found['advice']}\n" in said
    assert len(started) == 2 and f"confdir={place.confdir}" in started[0]


def test_a_cli_that_cannot_be_run_is_a_problem(place: Place) -> None:
    place.claude.chmod(0o644)
    assert place.findings()["Claude CLI"]["status"] == "problem"


@pytest.mark.parametrize("status", ['{"loggedIn": false}', "not JSON", "[]"])
def test_a_cli_nobody_is_logged_in_to_is_a_problem(place: Place, status: str) -> None:
    place.stand_in(status=status)
    assert place.findings()["Claude login"]["status"] == "problem"


def test_a_key_in_the_shell_is_named_and_never_shown(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-dummy")
    place.stand_in(status='{"loggedIn": false}')
    found = place.findings()["Claude login"]
    assert found["status"] == "warning"
    assert "sessionbridge_claude_env=ANTHROPIC_API_KEY" in found["advice"]
    assert "sk-ant" not in place.run().output
