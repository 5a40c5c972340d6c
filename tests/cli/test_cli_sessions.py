"""`sessionbridge sessions show, forget, prune, export`, and the files they delete."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sessionbridge.claude.profile import transcript_path
from sessionbridge.claude.work_dirs import chosen, root, work_dir
from sessionbridge.cli.main import cli
from sessionbridge.model import SessionKey
from sessionbridge.sessions.reports.sums import ALTERED
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.turn_records import KEY, turn

NAME = KEY.external_id
ODD = SessionKey("openclaw", "[bold]team:1/2[/bold]", "claude")
READING = [["show", NAME], ["export", NAME], ["forget", NAME, "--yes"]]


class Place:
    """A home of the bridge and the CLI's own folder, with files in both."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.config = folder / "claude"
        self.cwd = work_dir(root(self.home), "session")
        self.now = time.time()

    def store(self) -> closing[SessionStore]:
        return closing(SessionStore.open(self.home / DATABASE_NAME, clock=lambda: self.now))

    def transcript(self, session: str, cwd: Path | None = None) -> Path:
        path = transcript_path(self.config, cwd or self.cwd, session)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        return path

    def talk(self, *sessions: str, key: SessionKey = KEY, **changes: Any) -> list[Path]:
        """A turn and a transcript for each session, every one forked from the turn before."""
        where = {"cwd": str(self.cwd), "config_dir": str(self.config), "history": "client"}
        parent = None
        with self.store() as store:
            for session in sessions:
                record = turn(key=key, internal_id=session, parent_id=parent, metadata=where)
                parent = store.commit(replace(record, **changes))
        return [self.transcript(session) for session in sessions]

    def run(self, *arguments: str, answer: str | None = None) -> Result:
        command = ["--home", str(self.home), "sessions", *arguments]
        return CliRunner().invoke(cli, command, input=answer, catch_exceptions=False)

    def document(self, *arguments: str) -> Any:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.config)) for path in self.config.rglob("*.*")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# -- the name -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", READING)
def test_without_a_database_nothing_has_that_name_and_none_is_made(
    place: Place, command: list[str]
) -> None:
    result = place.run(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No conversation is called" in result.stderr
    assert not place.home.exists()


@pytest.mark.parametrize("command", READING)
def test_an_unknown_name_is_one_sentence(place: Place, command: list[str]) -> None:
    place.talk("s1", key=ODD)
    result = place.run(*command)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1 and repr(NAME) in result.stderr


@pytest.mark.parametrize("command", READING)
def test_a_name_that_several_have_lists_them(place: Place, command: list[str]) -> None:
    others = [replace(KEY, scope="openclaw"), replace(KEY, provider="work")]
    place.talk("s1")
    for number, key in enumerate(others):
        place.talk(f"other-{number}", key=key)
    result = place.run(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    for candidate in (f"goclaw/{NAME} (claude), session s1", "(work), session other-1"):
        assert candidate in result.stderr
    assert place.run(command[0], f"openclaw/{NAME}", *command[2:]).exit_code == 0
    assert place.run(command[0], f"goclaw/{NAME}", *command[2:]).exit_code == 2
    assert place.run(command[0], "other-1", *command[2:]).exit_code == 0
    with place.store() as store:
        left = {row.internal_id for row in store.sessions()}
    assert left == ({"s1"} if command[0] == "forget" else {"s1", "other-0", "other-1"})


def test_a_clients_conversation_is_named_with_the_client(place: Place) -> None:
    place.talk("s1")
    place.talk("s2", key=replace(KEY, scope="ann:goclaw"))
    refused = place.run("forget", NAME, "--yes")
    assert refused.exit_code == 2 and f"ann:goclaw/{NAME} (claude), session s2" in refused.stderr
    (gone,) = place.document("forget", f"ann:goclaw/{NAME}", "--yes", "--json")
    assert (gone["client"], gone["platform"], gone["sessions"]) == ("ann", "goclaw", ["s2"])
    assert place.document("export", f"goclaw/{NAME}")["client"] is None


@pytest.mark.parametrize("name", [ODD.external_id, f"openclaw/{ODD.external_id}", "s1"])
def test_odd_ids_are_named_as_they_are(place: Place, name: str) -> None:
    place.talk("s1", key=ODD)
    place.talk("s2")
    assert place.document("export", name)["external_id"] == ODD.external_id
    assert f"openclaw/{ODD.external_id}" in place.run("show", name).stdout
    assert place.document("forget", name, "--yes", "--json")[0]["sessions"] == ["s1"]


# -- show and export ------------------------------------------------------------------------------


def test_show_draws_branches_beneath_the_turn_they_left(place: Place) -> None:
    with place.store() as store:
        first = store.commit(turn(internal_id="s1"))
        store.commit(turn(internal_id="s1", parent_id=first, plan="resume", reason="continued"))
        store.commit(turn(internal_id="s2", parent_id=first, plan="fork", reason="branched"))
        store.commit(turn(internal_id="s3", cost_usd=None, status="max_tokens"))
    lines = place.run("show", NAME).stdout.splitlines()
    drawn = [line.split(" · ")[0].rstrip() for line in lines]
    assert drawn == [
        f"goclaw/{NAME} (claude)",
        "├── session s1",
        "│   ├── 1 fresh (first_turn)",
        "│   │   └── session s2",
        "│   │       └── 3 fork (branched)",
        "│   └── 2 resume (continued)",
        "└── session s3 (goes on here)",
        "    └── 4 fresh (first_turn) [max_tokens]",
    ]
    assert "claude-opus-4-5 · 10 in, 20 out, 40 read + 30 written · $0.2500 · " in lines[2]
    assert lines[2].rstrip().endswith("0.9 s") and " $? " in lines[7]


def test_show_a_long_conversation(place: Place) -> None:
    with place.store() as store:
        parent = None
        for _ in range(1200):
            parent = store.commit(turn(parent_id=parent, points=()))
    lines = place.run("show", NAME).stdout.splitlines()
    assert len(lines) == 1202 and max(map(len, lines)) < 200


def test_show_a_key_without_turns_and_one_that_was_forgotten(place: Place) -> None:
    with place.store() as store:
        store.set(KEY, "session-1")
        assert "no turns yet" in place.run("show", NAME).stdout
        store.commit(turn())
        store.delete(KEY)
    assert "1 fresh (first_turn)" in place.run("show", NAME).stdout
    exported = place.document("export", NAME)
    assert (exported["session"], exported["metadata"]) == (None, {})


@pytest.mark.acceptance(15, 29)
def test_export_holds_the_whole_ledger_of_the_key(place: Place) -> None:
    first, _ = place.talk("s1", "s2", idempotency_key="k")
    place.talk("o1", key=ODD)
    transcript_path(place.config, place.cwd, "s2").unlink()
    exported = place.document("export", NAME)
    assert (exported["platform"], exported["provider"]) == ("goclaw", "claude")
    assert (exported["session"], exported["metadata"]["history"]) == ("s2", "client")
    assert exported["sessions"] == [
        {"session": "s1", "transcript": str(first)},
        {"session": "s2", "transcript": None},
    ]
    one, two = exported["turns"]
    assert (one["parent_id"], two["parent_id"], two["session"]) == (None, one["id"], "s2")
    assert one["started_at"] == "1970-01-12T13:46:40+00:00"
    with place.store() as store:
        rows = store._engine.read(lambda db: list(db.query("PRAGMA table_info(turns)", {})))
    # `name` tells a turn from others where it is noted, and nothing of it.
    renamed = {"internal_id", "scope", "external_id", "provider", "name"}
    assert set(one) == {row["name"] for row in rows} - renamed | {"session"}
    assert exported == place.document("show", NAME, "--json")


# -- forget ---------------------------------------------------------------------------------------


def test_forget_asks_first(place: Place) -> None:
    files = place.talk("s1", "s2")
    refused = place.run("forget", NAME, answer="n\n")
    assert refused.exit_code == 1
    assert f"Forget goclaw/{NAME} (claude) and delete 2 transcripts?" in refused.output
    assert all(file.exists() for file in files)
    assert place.run("forget", NAME, answer="y\n").exit_code == 0
    assert not any(file.exists() for file in files)


def test_forget_leaves_the_ledger_and_the_next_turn_begins_anew(place: Place) -> None:
    place.talk("s1", "s2")
    result = place.run("forget", NAME, "--yes")
    assert result.stdout.endswith("Forgot 1 conversation and deleted 2 transcripts.\n")
    with place.store() as store:
        lineage = store.lineage(KEY, ["ask", "history"])
        assert (lineage.row, lineage.tip, lineage.points, lineage.before) == (None, None, (), None)
        assert [row.turns for row in store.costs("platform")] == [2]
    again = place.run("forget", NAME, "--yes")
    assert (again.exit_code, again.stdout.count("Forgot 0 conversations")) == (0, 1)


def test_forget_deletes_nothing_else(place: Place) -> None:
    """A person's own files lie beside the bridge's, some of them under the same names."""
    mine, fork = place.talk("s1", "s2")
    place.talk("other", key=ODD)
    kept = [
        place.transcript("unknown"),
        place.transcript("s1", place.home.parent / "project"),
        place.transcript("s1", place.home / "work"),
        place.transcript("s1", place.cwd.with_name("continue")),
        mine.with_suffix(".jsonl.bak"),
        mine.with_suffix("") / "notes.txt",
        place.config / "settings.json",
        place.config / ".credentials.json",
        place.cwd / "s1.jsonl",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = place.files()
    assert place.run("forget", NAME, "--yes").exit_code == 0
    assert before - place.files() == {str(p.relative_to(place.config)) for p in (mine, fork)}
    assert all(path.exists() for path in kept)


def test_forget_finds_what_has_been_brought_to_another_working_directory(place: Place) -> None:
    """Where a working directory has been chosen since then. What is left at the old is gone too."""
    (left,) = place.talk("s1")
    brought = place.transcript("s1", work_dir(chosen(place.home), "session"))
    (session,) = place.document("export", NAME)["sessions"]
    assert session["transcript"] == str(brought)
    assert place.run("forget", NAME, "--yes").exit_code == 0
    assert not left.exists() and not brought.exists()


@pytest.mark.parametrize("folder", ["elsewhere", "home", "home/work", "home/work/../../elsewhere"])
def test_transcripts_of_a_working_directory_elsewhere_stay(place: Place, folder: str) -> None:
    place.cwd = place.home.parent / folder
    (file,) = place.talk("s1")
    result = place.run("forget", NAME, "--yes")
    assert "Forgot 1 conversation and deleted 0 transcripts." in result.stdout
    assert file.exists()


def test_places_that_are_not_absolute_are_not_looked_at(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.home.parent)
    place.config = Path("claude")
    (file,) = place.talk("s1")
    place.run("forget", NAME, "--yes")
    assert file.exists()


def test_a_session_whose_name_is_a_path_deletes_nothing(place: Place) -> None:
    target = place.config / "projects" / "precious.jsonl"
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with place.store() as store:
        where = {"cwd": str(place.cwd), "config_dir": str(place.config)}
        store.commit(turn(internal_id="../precious", metadata=where))
    place.transcript("s1")
    assert place.run("forget", NAME, "--yes").exit_code == 0
    assert target.exists()


def test_what_another_key_uses_too_stays(place: Place) -> None:
    shared, own = place.talk("shared", "own")
    place.talk("shared", key=ODD)
    assert place.document("forget", NAME, "--yes", "--json")[0]["transcripts"] == [str(own)]
    assert shared.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder it may not change")
def test_a_transcript_that_cannot_be_deleted_is_named(place: Place) -> None:
    (file,) = place.talk("s1")
    file.parent.chmod(0o500)
    result = place.run("forget", NAME, "--yes")
    file.parent.chmod(0o700)
    assert result.exit_code == 1
    assert str(file) in result.stderr


# -- prune ----------------------------------------------------------------------------------------


@pytest.mark.acceptance(29)
def test_prune_forgets_what_was_not_used_for_long(place: Place) -> None:
    day = 86_400
    place.now -= 40 * day
    old = place.talk("s1", "s2")
    place.now += 39 * day
    (recent,) = place.talk("recent", key=ODD)
    foreign = place.transcript("mine", place.home.parent / "project")
    place.now += day
    assert place.document("prune", "--older-than", "41d", "--json") == []
    would = place.run("prune", "--older-than", "30d", "--dry-run")
    assert "Would forget 1 conversation and delete 2 transcripts." in would.stdout
    assert f"goclaw/{NAME} (claude)" in would.stdout
    assert all(file.exists() for file in old)
    done = place.document("prune", "--older-than", "30d", "--json")
    assert [(one["external_id"], one["deleted"]) for one in done] == [(NAME, True)]
    assert done[0]["transcripts"] == [str(file) for file in old]
    assert not any(file.exists() for file in old)
    assert recent.exists() and foreign.exists()
    with place.store() as store:
        assert [row.key for row in store.sessions()] == [ODD]
        assert sum(row.turns for row in store.costs("platform")) == 3


def test_prune_dry_run_as_json_says_that_nothing_was_deleted(place: Place) -> None:
    place.now -= 100
    (file,) = place.talk("s1")
    (one,) = place.document("prune", "--older-than", "1m", "--dry-run", "--json")
    assert (one["deleted"], one["transcripts"]) == (False, [str(file)])
    with place.store() as store:
        assert store.count() == 1


def test_prune_shows_its_progress_beside_the_report(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    place.now -= 100
    for number in range(3):
        place.talk(f"s{number}", key=replace(KEY, external_id=str(number)))
    result = place.run("prune", "--older-than", "1m", "--json")
    assert "Forgetting" in result.stderr and "100%" in result.stderr
    assert len(json.loads(result.stdout)) == 3


def test_prune_without_a_database(place: Place) -> None:
    assert "Nothing here yet" in place.run("prune", "--older-than", "30d").stdout
    assert place.document("prune", "--older-than", "30d", "--json") == []
    assert not place.home.exists()


@pytest.mark.parametrize("age", ["30", "d", "-1d", "soon", "2026-11-01", "٣d", ""])
def test_an_age_nobody_can_read_is_refused(place: Place, age: str) -> None:
    result = place.run("prune", "--older-than", age)
    assert result.exit_code == 2
    assert "is not an age" in result.stderr


# -- list -----------------------------------------------------------------------------------------


def test_list_says_why_a_key_imports_again_and_again(place: Place) -> None:
    with place.store() as store:
        for number in range(4):
            plan = "resume" if number == 0 else "import"
            store.commit(turn(plan=plan, reason="imported", parent_id=number or None))
        store.commit(turn(key=ODD, plan="import", reason="imported"))
        store.set(replace(KEY, external_id="idle"), "s9")
    rows = {row["external_id"]: row for row in place.document("list", "--json")}
    found = [(r["recent_turns"], r["imports"], r["likely_cause"]) for r in rows.values()]
    assert sorted(found, key=str) == [(0, 0, None), (1, 1, None), (4, 3, ALTERED)]
    table = place.run("list").stdout
    for cell in ("Imports", f"3 of 4: {ALTERED}", "│ 1 of 1 "):
        assert cell in table


@pytest.mark.parametrize("command", ["list", "show", "forget", "prune", "export"])
def test_every_command_has_help(place: Place, command: str) -> None:
    assert "Usage:" in place.run(command, "--help").stdout


@pytest.mark.parametrize("command", [*READING, ["prune", "--older-than", "1d"]])
def test_a_database_that_cannot_be_used_is_one_sentence(place: Place, command: list[str]) -> None:
    (place.home / DATABASE_NAME).mkdir(parents=True)
    result = place.run(*command)
    assert result.exit_code == 1
    assert "cannot be used" in result.stderr and "Traceback" not in result.output
