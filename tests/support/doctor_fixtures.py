"""A user whose machine is as `sessionbridge doctor` likes it, for tests to spoil."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mitmproxy import certs

from sessionbridge.cli.main import cli
from sessionbridge.cli.mitm import CA_NAME
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.claude_cli import isolated
from tests.support.proxy import free_port
from tests.support.turn_records import KEY

CONVERSING = str(Path(__file__).with_name("fake_cli.py"))
STAND_IN = """
import json, os, pathlib, runpy, sys
pathlib.Path(__file__).with_suffix(".seen").write_text(json.dumps(dict(os.environ)))
VERSION, STATUS = {version!r}, {status!r}
if "--input-format" in sys.argv:
    runpy.run_path({conversing!r}, run_name="__main__")
    sys.exit()
print(VERSION if sys.argv[1:] == ["--version"] else STATUS)
"""


class Place:
    """A user with a Claude that is logged in, and a CA."""

    def __init__(self, folder: Path, ca: bytes) -> None:
        self.folder = folder
        self.home = folder / "bridge"
        self.database = self.home / DATABASE_NAME
        self.config = folder / "config"
        self.confdir = folder / "mitm"
        self.ca = self.confdir / CA_NAME
        self.claude = self.stand_in()
        self.port = free_port()
        self.confdir.mkdir()
        self.ca.write_bytes(ca)

    def stand_in(
        self, version: str = "2.1.330 (Claude Code)", status: str = '{"loggedIn": true}'
    ) -> Path:
        """An executable in the CLI's place, which writes down the environment it was given."""
        program = self.folder / "claude"
        source = STAND_IN.format(version=version, status=status, conversing=CONVERSING)
        program.write_text(f"#!{sys.executable} -IS\n{source}")
        program.chmod(0o755)
        return program

    def settings(self, content: str) -> None:
        self.config.mkdir(exist_ok=True)
        (self.config / "settings.json").write_text(content)

    def used(self, days_ago: float) -> None:
        with closing(
            SessionStore.open(self.database, clock=lambda: time.time() - days_ago * 86_400)
        ) as store:
            store.set(KEY, "session-1")

    def run(self, *arguments: str) -> Result:
        command = ["--home", str(self.home), "doctor", "--confdir", str(self.confdir)]
        command += ["--claude", str(self.claude), "--port", str(self.port), *arguments]
        return CliRunner().invoke(cli, command, catch_exceptions=False)

    def findings(self, *arguments: str) -> dict[str, dict[str, str]]:
        result = self.run("--json", *arguments)
        found = {row["check"]: row for row in json.loads(result.stdout)}
        problems = [row for row in found.values() if row["status"] == "problem"]
        assert result.exit_code == (1 if problems else 0)
        assert all(row["advice"] for row in found.values() if row["status"] != "ok")
        return found


def light_addon(folder: Path) -> Path:
    """Where a Python finds one that is loaded in no time, as its PYTHONPATH."""
    for name in ("__init__.py", "proxy/addon.py", "claude/cli/launcher.py"):
        module = folder / "sessionbridge" / name
        module.parent.mkdir(parents=True, exist_ok=True)
        module.touch()
    return folder


def new_ca(folder: Path) -> bytes:
    certs.CertStore.create_store(folder, "mitmproxy", 2048)
    return (folder / CA_NAME).read_bytes()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return new_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: bytes) -> Place:
    """The addon is loaded for each look at all, which takes a second; `test_cli_doctor` has the
    real one loaded."""
    isolated(monkeypatch, tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(light_addon(tmp_path / "light")))
    return Place(tmp_path, ca)
