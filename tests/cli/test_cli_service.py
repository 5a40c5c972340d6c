"""`sessionbridge service`: systemd reads the unit as it is meant. Its commands go to a stand-in for
systemctl, because a test starts nothing in the user's own manager."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sessionbridge.cli.main import cli
from sessionbridge.cli.service.managers import launchd, quoted
from tests.end_to_end.test_systemd import unit

STAND_IN = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in *"{fails}"*) echo "Failed to connect to bus" >&2; exit 1;; esac
"""


class Manager:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._bin, self._log = folder / "bin", folder / "log"
        self._bin.mkdir()
        self.file = folder / "home" / ".config" / "systemd" / "user" / "sessionbridge.service"
        monkeypatch.setenv("PATH", str(self._bin), prepend=None)
        monkeypatch.setenv("HOME", str(folder / "home"))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        self.fails("nothing")

    def fails(self, command: str) -> None:
        tool = self._bin / "systemctl"
        tool.write_text(STAND_IN.format(log=self._log, fails=command))
        tool.chmod(0o755)

    def missing(self) -> None:
        (self._bin / "systemctl").unlink()

    def told(self) -> list[str]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return lines

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(cli, ["--home", "/srv/a bridge", "service", *words])


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manager:
    return Manager(tmp_path, monkeypatch)


OPTIONS = ("--port", "8123", "--confdir", "/srv/mitm 100%", "--set", 'x=a"$b')


def test_it_is_installed_looked_at_and_taken_away(manager: Manager) -> None:
    assert "Not installed" in manager.run("status").output
    done = manager.run("install", *OPTIONS)
    assert done.exit_code == 0 and "loginctl enable-linger" in done.output
    ours = "sessionbridge.service"
    assert manager.told() == [
        "--user daemon-reload", f"--user enable {ours}", f"--user restart {ours}",
    ]  # fmt: skip
    done = manager.run("status")
    assert done.exit_code == 0 and done.output.startswith("Running: ")
    manager.fails("is-active")
    done = manager.run("status")
    assert done.exit_code == 1 and done.output.startswith("Not running: ")
    manager.told()
    done = manager.run("uninstall")
    assert done.exit_code == 0 and not manager.file.exists()
    assert manager.told() == [f"--user disable --now {ours}", "--user daemon-reload"]
    assert "Not installed" in manager.run("uninstall").output


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (["--set", "sessionbridge_claude_env=ANTHROPIC_API_KEY=sk-ant-x"], "Give the name alone"),
        (["--set", "a=b\nExecStartPre=x"], "holds a line end"),
        (["--port", "99999"], "99999"),
    ],
)
def test_what_has_no_place_in_a_unit(manager: Manager, option: list[str], told: str) -> None:
    result = manager.run("install", *option)
    assert result.exit_code != 0 and told in result.output and "sk-ant-x" not in result.output
    assert not manager.file.exists() and manager.told() == []


def test_what_fails_leaves_all_as_it_was(manager: Manager) -> None:
    manager.fails("enable")
    done = manager.run("install")
    assert done.exit_code == 1 and "Failed to connect to bus" in done.output
    assert not manager.file.exists()
    manager.fails("nothing")
    manager.run("install")
    before = manager.file.read_bytes()
    manager.missing()
    done = manager.run("install", *OPTIONS)
    assert done.exit_code == 1 and "there is no systemctl here" in done.output
    assert manager.file.read_bytes() == before


def test_systemd_takes_the_unit(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    manager.run("install", *OPTIONS)
    monkeypatch.undo()
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    checked = subprocess.run(
        [analyze, "--user", "verify", str(manager.file)],
        env={"HOME": str(manager.file.parents[3]), "XDG_RUNTIME_DIR": str(manager.file.parent)},
        capture_output=True,
        text=True,
    )
    said = [line for line in checked.stderr.splitlines() if "sessionbridge" in line]
    assert (checked.returncode, said) == (0, [])
    for setting in ("KillMode", "TimeoutStopSec", "Restart"):
        assert f"\n{setting}={unit()['Service'][setting]}\n" in manager.file.read_text()


def test_words_are_read_as_they_were() -> None:
    assert quoted('a b%c$d"e\\f') == '"a b%%c$$d\\"e\\\\f"'


def test_launchd_is_given_the_same(tmp_path: Path) -> None:
    agent = launchd(tmp_path, ["sessionbridge", "run"], 501)
    document = plistlib.loads(agent.text)
    assert document["ProgramArguments"] == ["sessionbridge", "run"]
    assert document["ExitTimeOut"] == int(unit()["Service"]["TimeoutStopSec"])
    assert "not been tested" in agent.note
