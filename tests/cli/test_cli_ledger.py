"""`sessionbridge cost` and `sessionbridge sessions list`."""

from __future__ import annotations

import csv
import io
import json
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sessionbridge.cli.main import cli
from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.turn_records import GROUPS, KEY, turn

READING = [["cost"], ["sessions", "list"]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def filled(home: Path) -> Path:
    now = time.time()
    other = SessionKey("openclaw", "[bold]team:1/2", "work")
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.commit(turn(started_at=now - 7200, usage=Usage(100, 20, 50, 0)))
        store.commit(turn(started_at=now, usage=Usage(5, 20, 0, 145), plan="resume"))
        store.commit(turn(key=other, internal_id="session-2", started_at=now, cost_usd=None))
    return home


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), *arguments], catch_exceptions=False)


def documents(home: Path, *arguments: str) -> list[dict[str, Any]]:
    result = run(home, *arguments, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert isinstance(rows, list)
    return rows


@pytest.mark.parametrize("command", READING)
def test_without_a_home_it_says_so_and_makes_nothing(home: Path, command: list[str]) -> None:
    result = run(home, *command)
    assert result.exit_code == 0
    assert str(home / DATABASE_NAME) in result.output
    assert documents(home, *command) == []
    assert not home.exists()


@pytest.mark.parametrize("command", READING)
def test_in_a_home_without_a_database_none_is_made(home: Path, command: list[str]) -> None:
    home.mkdir()
    assert run(home, *command).exit_code == 0
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("command", READING)
def test_an_empty_database_has_nothing_to_show(home: Path, command: list[str]) -> None:
    SessionStore.open(home / DATABASE_NAME).close()
    assert "Nothing to show" in run(home, *command).output
    assert documents(home, *command) == []


@pytest.mark.parametrize("command", READING)
def test_a_database_that_cannot_be_used_is_one_sentence(home: Path, command: list[str]) -> None:
    (home / DATABASE_NAME).mkdir(parents=True)
    result = run(home, *command)
    assert result.exit_code == 1
    assert "cannot be used" in result.output
    assert "Traceback" not in result.output


@pytest.mark.acceptance(15, 18)
def test_cost_shows_the_turn_and_that_the_cache_was_read(filled: Path) -> None:
    goclaw, openclaw = documents(filled, "cost")
    assert (goclaw["platform"], goclaw["turns"], goclaw["cost_usd"]) == ("goclaw", 2, 0.5)
    assert (goclaw["input_tokens"], goclaw["output_tokens"]) == (105, 40)
    assert goclaw["cache_creation_input_tokens"] == 50
    assert goclaw["cache_read_input_tokens"] == 145
    assert goclaw["cache_hit"] == pytest.approx(145 / 300)
    assert goclaw["first_at"] < goclaw["last_at"]
    assert (openclaw["cost_usd"], openclaw["unpriced_turns"]) == (None, 1)


def test_cost_as_a_table(filled: Path) -> None:
    output = run(filled, "cost").output
    for cell in ("Platform", "goclaw", "145", "48%", "0.5000", "?"):
        assert cell in output


def line(table: str, name: str) -> list[str]:
    """The cells of the row that begins with a name."""
    (found,) = [row for row in table.splitlines() if row.startswith(f"│ {name} ")]
    return [cell.strip() for cell in found.strip("│").split("│")]


def test_the_table_of_costs_ends_in_a_total(filled: Path) -> None:
    rows = documents(filled, "cost")
    names = ("input_tokens", "output_tokens")
    cache = ("cache_creation_input_tokens", "cache_read_input_tokens")
    sums = {name: sum(row[name] for row in rows) for name in ("turns", *names, *cache)}
    prompt = sums["input_tokens"] + sum(sums[name] for name in cache)
    output = run(filled, "cost").stdout
    total = line(output, "Total")
    assert total[1:6] == [str(count) for count in sums.values()]
    assert total[6:] == [f"{sums['cache_read_input_tokens'] / prompt:.0%}", "0.5000 + ?"]
    assert output.splitlines()[-2].startswith("│ Total ")


def test_a_total_of_unknown_costs_is_unknown(home: Path) -> None:
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.commit(turn(cost_usd=None))
    assert line(run(home, "cost").stdout, "Total")[-1] == "?"


def test_json_and_csv_have_no_total(filled: Path) -> None:
    for form in ("--json", "--csv"):
        assert "Total" not in run(filled, "cost", form).stdout
    assert "Total" not in run(filled, "sessions", "list").stdout


@pytest.mark.parametrize("by", GROUPS)
def test_csv_has_the_fields_and_values_of_json(filled: Path, by: str) -> None:
    result = run(filled, "cost", "--by", by, "--csv")
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout, newline="")))
    told = documents(filled, "cost", "--by", by)
    assert [list(row) for row in rows] == [list(row) for row in told]
    for row, document in zip(rows, told, strict=True):
        assert row == {k: "" if v is None else str(v) for k, v in document.items()}


def test_csv_keeps_an_id_as_it_is(home: Path) -> None:
    odd = SessionKey("openclaw", 'Ann, "the boss"\nof it', "claude")
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.commit(turn(key=odd))
    output = run(home, "cost", "--by", "user", "--csv").stdout
    (row,) = csv.DictReader(io.StringIO(output, newline=""))
    assert row["user"] == odd.external_id


def test_csv_of_nothing_is_its_header(home: Path) -> None:
    (header,) = run(home, "cost", "--by", "user", "--csv").stdout.splitlines()
    assert header.split(",")[:4] == ["client", "platform", "user", "turns"]
    assert not home.exists()


def test_json_and_csv_exclude_each_other(filled: Path) -> None:
    result = run(filled, "cost", "--json", "--csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--json and --csv exclude each other" in result.stderr


@pytest.mark.parametrize(("by", "names"), GROUPS.items())
def test_cost_by(filled: Path, by: str, names: set[str]) -> None:
    rows = documents(filled, "cost", "--by", by)
    assert sum(row["turns"] for row in rows) == 3
    assert all(names < set(row) for row in rows)
    assert run(filled, "cost", "--by", by).exit_code == 0


@pytest.mark.parametrize(
    ("since", "turns"),
    [("60m", 2), ("1h", 2), ("3h", 3), ("7d", 3), ("2w", 3), ("2020-01-31", 3), ("2100-01-01", 0)],
)
def test_cost_since(filled: Path, since: str, turns: int) -> None:
    rows = documents(filled, "cost", "--since", since)
    assert sum(row["turns"] for row in rows) == turns


@pytest.mark.parametrize("since", ["yesterday", "7", "d", "-1h", "2026-13-01", ""])
def test_a_time_nobody_can_read_is_refused(filled: Path, since: str) -> None:
    result = run(filled, "cost", "--since", since)
    assert result.exit_code == 2
    assert "neither an age" in result.output


def test_clients_have_a_column_where_there_are_any(filled: Path) -> None:
    for command in (["cost", "--by", "user"], ["sessions", "list"]):
        assert "Client" not in run(filled, *command).stdout
    with closing(SessionStore.open(filled / DATABASE_NAME)) as store:
        store.commit(turn(key=SessionKey("ann:goclaw", "u", "claude"), client="ann"))
    for command in (["cost", "--by", "user"], ["sessions", "list"]):
        output = run(filled, *command).stdout
        assert "Client" in output and line(output, "ann")[1:3] == ["goclaw", "u"]
    assert line(run(filled, "cost", "--by", "client").stdout, "ann")[1] == "1"


def test_sessions_list_tells_what_each_session_is_and_was(filled: Path) -> None:
    rows = {row["platform"]: row for row in documents(filled, "sessions", "list")}
    row = rows["goclaw"]
    assert (row["external_id"], row["provider"]) == (KEY.external_id, "claude")
    assert (row["session"], row["plan"], row["reason"]) == ("session-1", "resume", "first_turn")
    assert (row["turns"], row["cache_read_input_tokens"]) == (2, 145)
    assert row["metadata"] == {"kind": "conversation"}
    assert rows["openclaw"]["provider"] == "work"


def test_sessions_list_as_a_table_shows_ids_as_they_are(filled: Path) -> None:
    output = run(filled, "sessions", "list").output
    for cell in (KEY.external_id, "[bold]team:1/2", "session-1", "resume (first_turn)"):
        assert cell in output


def test_a_session_without_turns_is_listed(home: Path) -> None:
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.set(KEY, "session-1")
    (row,) = documents(home, "sessions", "list")
    assert (row["turns"], row["plan"], row["cost_usd"]) == (0, None, None)
    assert "session-1" in run(home, "sessions", "list").output


def test_home_comes_from_the_environment(filled: Path) -> None:
    environment = {"SESSIONBRIDGE_HOME": str(filled)}
    result = CliRunner().invoke(cli, ["cost", "--json"], env=environment)
    assert len(json.loads(result.stdout)) == 2


def test_version_is_the_installed_one() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert version("mitmproxy-sessionbridge") in result.output
