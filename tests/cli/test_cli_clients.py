"""`sessionbridge clients`: tokens are shown once, and kept as hashes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sessionbridge.cli.main import cli
from sessionbridge.client_tokens import token
from sessionbridge.sessions.store.spending import Limited, Reserved, Used
from sessionbridge.sessions.store.store import SessionStore


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


def rules(home: Home) -> Any:
    return home.document("show", "ci-bot")["rules"]


def test_what_a_client_may_use_is_set_and_changed(home: Home) -> None:
    home.document("add", "ci-bot", "--usd", "5/day", "--usd", "50/month", "--turns-at-once", "2")
    budgets = [{"per": "day", "usd": 5.0}, {"per": "month", "usd": 50.0}]
    assert rules(home) == {"budgets": budgets, "turns_at_once": 2}
    more = ("--usd", "7.5/day", "--tokens", "1000/week", "--turns-a-minute", "3")
    providers = ("--provider", "key", "--provider", "bedrock", "--no-fallback")
    assert home.run("set", "ci-bot", *more, *providers).exit_code == 0
    budgets = [{"per": "day", "usd": 7.5}, *budgets[1:], {"per": "week", "tokens": 1000}]
    own = {"providers": ["key", "bedrock"], "fallback": False}
    rates = {"turns_at_once": 2, "turns_a_minute": 3}
    assert rules(home) == {"budgets": budgets, **rates, **own}
    assert home.run("set", "ci-bot", "--no-limits", "--usd", "1/week").exit_code == 0
    assert rules(home) == {"budgets": [{"per": "week", "usd": 1.0}], **own}


def test_each_of_its_limits_can_be_taken_away(home: Home) -> None:
    limits = ("--usd", "5/day", "--usd", "9/week", "--tokens", "7/day", "--turns-a-minute", "3")
    rates = ("--turns-at-once", "2", "--provider", "key", "--no-fallback")
    home.document("add", "ci-bot", *limits, *rates)
    assert home.run("set", "ci-bot", "--without", "usd/day").exit_code == 0
    assert (
        home.run("set", "ci-bot", "--without", "turns-a-minute", "--usd", "8/month").exit_code == 0
    )
    budgets = [
        {"per": "week", "usd": 9.0},
        {"per": "day", "tokens": 7},
        {"per": "month", "usd": 8.0},
    ]
    left = {"budgets": budgets, "turns_at_once": 2, "providers": ["key"], "fallback": False}
    assert rules(home) == left
    others = ("--without", "providers", "--without", "turns-at-once", "--provider", "bedrock")
    assert home.run("set", "ci-bot", *others).exit_code == 0
    assert rules(home) == {"budgets": budgets, "providers": ["bedrock"], "fallback": False}
    wrong = home.run("set", "ci-bot", "--without", "usd")
    assert (wrong.exit_code, "turns-at-once" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    "wrong", ["5", "5/year", "-5/day", "x/day", "5.5/day/day", "5/", "inf/day", "nan/day"]
)
def test_what_is_no_budget_changes_nothing(home: Home, wrong: str) -> None:
    home.document("add", "ci-bot", "--tokens", "0/day")
    refused = home.run("set", "ci-bot", f"--usd={wrong}")
    assert refused.exit_code == 2
    assert "is not an amount for a day, week or month, such as 5/day" in refused.stderr
    assert home.run("set", "ci-bot", "--tokens", "1.5/day").exit_code == 2
    assert rules(home) == {"budgets": [{"per": "day", "tokens": 0}]}
    for command in (("set", "nobody", "--usd", "1/day"), ("show", "nobody")):
        assert "No client is called 'nobody'" in home.run(*command).stderr


def test_what_a_client_has_used_is_shown(home: Home) -> None:
    home.document("add", "ci-bot", "--usd", "5/day", "--turns-a-minute", "9")
    with closing(SessionStore.open(home.path / "session_map.db")) as store:
        client = store.client("ci-bot")
        assert client is not None
        limited = Limited("client", "ci-bot", client.rules)
        reserved = Reserved.anew("ci-bot", "claude", 60.0)
        store.reserve(reserved, [limited], lambda base: Used(1.25, 10), None)
    told = home.document("show", "ci-bot")
    (budget,) = told["budgets"]
    resets_at = datetime.fromisoformat(budget.pop("resets_at"))
    assert resets_at > datetime.now(UTC) and resets_at.hour == 0
    assert budget == {"per": "day", "unit": "usd", "limit": 5.0, "used": 1.25, "left": 3.75}
    assert told["rates"] == {
        "turns_a_minute": {"limit": 9, "used": 1},
        "turns_at_once": {"limit": None, "used": 1},
    }
    text = home.run("show", "ci-bot").stdout
    assert "5.00 USD a day" in text and "3.75 USD" in text and "██▌·······" in text
    assert "Turns in the last minute: 1 of 9" in text


def test_of_a_budget_of_nothing_the_bar_is_full(home: Home) -> None:
    home.document("add", "ci-bot", "--usd", "0/day")
    assert "██████████" in home.run("show", "ci-bot").stdout
