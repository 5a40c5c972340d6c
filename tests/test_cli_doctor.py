"""`sessionbridge doctor`: each check with what it finds in order, and with what it does not."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sqlite3
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mitmproxy import certs
from OpenSSL import crypto
from sqlite_utils import Database

from sessionbridge.claude.login import find_cli
from sessionbridge.cli.checks import programs
from sessionbridge.cli.checks.network import check_port
from sessionbridge.cli.main import cli
from sessionbridge.cli.mitm import CA_NAME
from sessionbridge.sessions.migrations import migrations
from sessionbridge.sessions.store import DATABASE_NAME, SessionStore
from tests.claude_cli import isolated, job, staged
from tests.proxy import ROOT, free_port, running_proxy
from tests.scripted_api import ScriptedServer
from tests.turn_records import KEY

STAND_IN = """
import json, os, pathlib, sys
pathlib.Path(__file__).with_suffix(".seen").write_text(json.dumps(dict(os.environ)))
VERSION, STATUS = {version!r}, {status!r}
print(VERSION if sys.argv[1:] == ["--version"] else STATUS)
"""
CHECKS = (
    *("Python", "mitmproxy", "Claude CLI", "Claude login", "CA", "Port", "Loop guard"),
    *("Retention", "Database"),
)


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
        source = STAND_IN.format(version=version, status=status)
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


def new_ca(folder: Path) -> bytes:
    certs.CertStore.create_store(folder, "mitmproxy", 2048)
    return (folder / CA_NAME).read_bytes()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return new_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def another_ca(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of the same name."""
    return new_ca(tmp_path_factory.mktemp("another"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: bytes) -> Place:
    isolated(monkeypatch, tmp_path)
    return Place(tmp_path, ca)


def test_all_in_order_ends_with_0_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(place.ca))
    found = place.findings()
    assert tuple(found) == CHECKS
    assert {row["status"] for row in found.values()} == {"ok"}
    assert not place.home.exists()


def test_the_table_can_be_read_without_colours(place: Place) -> None:
    result = place.run()
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    for check in CHECKS:
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"│ {check} ")]
        assert re.search("│ (ok|warning|problem) ", line)
    assert "→ Where clients use the regular proxy" in result.stdout


# -- programs -------------------------------------------------------------------------------------


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


def test_the_real_cli_tells_its_version_and_that_nobody_is_logged_in(place: Place) -> None:
    real = find_cli(None)
    assert real is not None
    place.claude = real
    found = place.findings()
    assert re.fullmatch(rf"\d+\.\d+\.\d+ at {re.escape(str(real))}", found["Claude CLI"]["found"])
    assert found["Claude login"]["status"] == "problem"
    assert "auth login" in found["Claude login"]["advice"]


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


# -- the CA ---------------------------------------------------------------------------------------


def test_without_a_ca_it_is_said_who_makes_it(place: Place) -> None:
    place.ca.unlink()
    assert place.findings()["CA"]["status"] == "warning"


def test_a_ca_that_is_none_is_a_problem(place: Place) -> None:
    place.ca.write_text("no certificate")
    assert place.findings()["CA"]["status"] == "problem"


@pytest.mark.parametrize(
    ("variable", "program"),
    [
        ("SSL_CERT_FILE", "OpenSSL"),
        ("NODE_EXTRA_CA_CERTS", "Node"),
        ("REQUESTS_CA_BUNDLE", "requests"),
    ],
)
def test_a_bundle_with_the_ca_in_it_makes_it_trusted(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    ca: bytes,
    another_ca: bytes,
    variable: str,
    program: str,
) -> None:
    bundle = place.folder / "bundle.pem"
    monkeypatch.setenv(variable, str(bundle))
    bundle.write_bytes(another_ca)
    assert place.findings()["CA"]["status"] == "warning"
    bundle.write_bytes(another_ca + ca)
    found = place.findings()["CA"]
    assert found["status"] == "ok"
    by, _, others = found["found"].partition("; not by ")
    assert program in by and program not in others


def test_a_ca_in_a_directory_of_openssls_is_trusted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.folder / "store"
    store.mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", f"{place.folder}:{store}")
    assert place.findings()["CA"]["status"] == "warning"
    pem = place.ca.read_bytes()
    hashed = crypto.load_certificate(crypto.FILETYPE_PEM, pem).subject_name_hash()
    (store / f"{hashed:08x}.0").write_bytes(pem)
    assert place.findings()["CA"]["status"] == "ok"


# -- the port -------------------------------------------------------------------------------------


@contextmanager
def serving(pages: dict[str, str]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.end_headers()
            self.wfile.write((page or "nothing of sessionbridge").encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "pages",
    [
        {},
        {"/.sessionbridge/": "<title>Some page</title>"},
        {"/": "<title>Session bridge</title>"},
    ],
)
def test_a_port_another_program_has_is_a_warning(place: Place, pages: dict[str, str]) -> None:
    with serving(pages) as place.port:
        found = place.findings()["Port"]
    assert found["status"] == "warning"
    assert str(place.port) in found["found"]


@pytest.mark.parametrize("mode", [[], ["--mode", "reverse:https://api.anthropic.com@{port}"]])
def test_a_port_where_a_bridge_runs_is_fine(
    api: ScriptedServer, tmp_path: Path, mode: list[str]
) -> None:
    arguments = [word.format(port=free_port()) for word in mode]
    with running_proxy(tmp_path, api.url, *arguments) as proxy:
        finding = check_port(proxy.ports[0])
    assert (finding.status, finding.found) == ("ok", f"a bridge is running at {proxy.ports[0]}")


def test_a_port_that_speaks_no_http_is_taken(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place.port = server.getsockname()[1]

        def hang_up() -> None:
            for _ in range(2):
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert place.findings()["Port"]["status"] == "warning"
        thread.join()


def test_a_port_whose_connections_have_just_ended_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()  # the side that closes first keeps the port for a while
        client.close()
    assert check_port(port).status == "ok"


# -- settings -------------------------------------------------------------------------------------


def test_what_the_shell_redirects_does_not_reach_the_cli(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://user:word@127.0.0.1:8080")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:8080")
    monkeypatch.setenv("ALL_PROXY", "")
    found = place.findings()["Loop guard"]
    assert found["status"] == "ok"
    assert found["found"].startswith("ANTHROPIC_BASE_URL, https_proxy in this shell")
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


# -- the database ---------------------------------------------------------------------------------


def state(place: Place) -> dict[str, tuple[int, str]]:
    """Every file of the home but the lock, which is empty, and the log of an idle database."""
    return {
        path.name: (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in place.home.iterdir()
        if path.stat().st_size and not path.name.endswith("-shm")
    }


def test_a_database_in_order_is_left_as_it_is(place: Place) -> None:
    place.used(1)
    before = state(place)
    found = place.findings()["Database"]
    assert (found["status"], state(place)) == ("ok", before)
    assert found["found"].endswith("whole, 1 conversations")


def test_a_database_in_use_is_in_order(place: Place) -> None:
    with closing(SessionStore.open(place.database)) as store:
        store.set(KEY, "session-1")
        with closing(sqlite3.connect(place.database, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            assert place.findings()["Database"]["found"].endswith("whole, 1 conversations")


def test_what_is_no_database_is_a_problem_and_stays(place: Place) -> None:
    place.home.mkdir()
    place.database.write_bytes(b"no database at all " * 100)
    before = state(place)
    found = place.findings()["Database"]
    assert (found["status"], state(place)) == ("problem", before)
    assert "not a database" in found["found"]


def test_a_damaged_page_is_a_problem(place: Place) -> None:
    place.used(1)
    with closing(sqlite3.connect(place.database)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'turns'")
        root = page.fetchone()[0]
    with place.database.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\x00" * 4096)
    assert place.findings()["Database"]["status"] == "problem"


def test_a_database_others_may_read_is_a_problem(place: Place) -> None:
    place.used(1)
    place.database.chmod(0o644)
    found = place.findings()["Database"]
    assert (found["status"], found["advice"]) == ("problem", f"chmod 600 {place.database}")
    assert "0644" in found["found"]


def test_an_older_database_is_brought_up_to_date_later(place: Place) -> None:
    place.home.mkdir()
    place.database.touch(0o600)
    with closing(sqlite3.connect(place.database, isolation_level=None)) as connection:
        migrations.apply(Database(connection), stop_before="m005_processes")
    before = state(place)
    found = place.findings()["Database"]
    assert (found["status"], state(place)) == ("warning", before)
    with closing(Database(memory=True)) as empty:
        steps = len(migrations.pending(empty)) - 4
    assert f"{steps} steps behind" in found["found"]


def test_a_database_of_a_later_version_is_a_warning(place: Place) -> None:
    place.used(1)
    row = {"migration_set": "sessionbridge", "name": "m999_later", "applied_at": "2030"}
    with closing(sqlite3.connect(place.database, isolation_level=None)) as connection:
        Database(connection).table("_sqlite_migrations").insert(row)
    found = place.findings()["Database"]
    assert found["status"] == "warning"
    assert "m999_later" in found["found"]


def test_corrupt_databases_beside_it_are_named(place: Place) -> None:
    place.home.mkdir()
    place.database.write_bytes(b"no database at all " * 100)
    place.used(1)  # the bridge moves it aside
    (aside,) = place.home.glob("*.corrupt-*")
    found = place.findings()["Database"]
    assert found["status"] == "warning"
    assert str(aside) in found["advice"]


def test_a_folder_in_its_place_is_a_problem(place: Place) -> None:
    place.database.mkdir(parents=True)
    assert place.findings()["Database"]["status"] == "problem"
