"""`sessionbridge clients`: tokens are shown once, and kept as hashes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sessionbridge.cli.main import cli
from sessionbridge.client_tokens import token


class Home:
    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *arguments: str) -> Result:
        command = ["--home", str(self.path), "clients", *arguments]
        return CliRunner().invoke(cli, command, catch_exceptions=False)

    def document(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def rows(self) -> dict[str, Any]:
        with closing(sqlite3.connect(self.path / "session_map.db")) as db:
            return {
                name: row for name, *row in db.execute("SELECT name, id, token_hash FROM clients")
            }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_token_is_shown_once_and_kept_as_a_hash(home: Home) -> None:
    told = home.document("add", "ci-bot")
    assert told.keys() == {"name", "token"}
    assert told["name"] == "ci-bot"
    kept = token(told["token"])
    assert home.rows() == {"ci-bot": [kept.id, hashlib.sha256(told["token"].encode()).hexdigest()]}
    secret = told["token"].rpartition(kept.id)[2].encode()
    assert not any(secret in file.read_bytes() for file in home.path.iterdir() if file.is_file())
    listed = home.run("list")
    assert kept.id in listed.stdout
    assert secret.decode() not in listed.stdout


def test_the_token_alone_is_on_standard_output(home: Home) -> None:
    result = home.run("add", "me")
    assert token(result.stdout.strip()).id
    assert "not shown again" in result.stderr


def test_revoked_and_rotated(home: Home) -> None:
    first = home.document("add", "a")["token"]
    assert home.run("revoke", "a").exit_code == 0
    (listed,) = home.document("list")
    assert listed["revoked_at"] is not None
    second = home.document("rotate", "a")["token"]
    assert second != first
    (listed,) = home.document("list")
    assert (listed["id"], listed["revoked_at"]) == (token(second).id, None)


def test_a_name_that_is_taken_or_unknown(home: Home) -> None:
    for command in ("revoke", "rotate"):
        result = home.run(command, "a")
        assert result.exit_code == 1
        assert "No client is called 'a'" in result.stderr
    assert not home.path.exists()  # nothing is left where nothing was
    home.run("add", "a")
    before = home.rows()
    again = home.run("add", "a")
    assert again.exit_code == 1
    assert "rotate a" in again.stderr
    assert home.rows() == before


@pytest.mark.parametrize("name", ["", "a:b", "a b", "a/b", "ü", "x" * 65, "a\n"])
def test_names_that_none_can_have(home: Home, name: str) -> None:
    result = home.run("add", name)
    assert result.exit_code == 2
    assert "letters, digits" in result.stderr
