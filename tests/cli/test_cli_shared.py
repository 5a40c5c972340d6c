"""The commands where several nodes keep their conversations in one database on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner, Result

from sessionbridge.claude import work_dirs
from sessionbridge.claude.profile import transcripts_folder
from sessionbridge.claude.work_dirs import chosen, root, work_dir
from sessionbridge.cli.main import cli
from sessionbridge.model import SessionKey
from sessionbridge.sessions.store import commits
from sessionbridge.sessions.store.engine import PATIENCE, Database
from sessionbridge.sessions.store.places import VARIABLE, place_of
from tests.support.documents import DOCS, blocks
from tests.support.postgres import PASSWORD, Postgres
from tests.support.postgres_stores import REFUSES_DELETES
from tests.support.turn_records import KEY, turn

NAME = KEY.external_id
READING = [["sessions", "list"], ["cost"], ["savings"], ["sessions", "prune", "--older-than", "1d"]]


class Node:
    """A home of the bridge, and the CLI's folder, on a machine of several."""

    def __init__(self, folder: Path, url: str) -> None:
        self.home = folder / "home"
        self.config = folder / "claude"
        self.cwd = work_dir(chosen(self.home), "session")
        self.transcripts = transcripts_folder(self.config, self.cwd)
        self.url = url

    def of(self, provider: str) -> Path:
        """The folder of its transcripts."""
        return transcripts_folder(self.config, work_dir(root(self.home), "session", provider))

    def talk(self, session: str = "session-1", key: SessionKey = KEY, said: str = "hi\n") -> None:
        """A turn that was answered on this node."""
        folder = self.of(key.provider)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{session}.jsonl").open("a") as transcript:
            transcript.write(said)
        where = {"cwd": str(self.cwd), "config_dir": str(self.config)}
        with closing(place_of(self.home, self.url)) as shared:
            store = shared.store(lambda: folder, PATIENCE)
            store.commit(turn(key=key, internal_id=session, metadata=where))

    def run(self, *arguments: str, answer: str | None = None) -> Result:
        command = ["--home", str(self.home), *arguments]
        environment = {VARIABLE: self.url, "CLAUDE_CONFIG_DIR": str(self.config)}
        result = CliRunner().invoke(cli, command, env=environment, input=answer)
        assert PASSWORD not in result.output
        return result

    def document(self, *arguments: str) -> Any:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def files(self) -> dict[str, str]:
        there = self.transcripts.iterdir() if self.transcripts.exists() else ()
        return {path.name: path.read_text() for path in there}


def kept(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT name FROM sessionbridge.files ORDER BY name").fetchall()
    return [name for (name,) in found]


@pytest.fixture
def nodes(tmp_path: Path, database: str) -> tuple[Node, Node]:
    return Node(tmp_path / "one", database), Node(tmp_path / "two", database)


def test_they_leave_no_trace_in_a_database_without_sessions(nodes: tuple[Node, Node]) -> None:
    node, _ = nodes
    for command in READING:
        told = node.run(*command)
        assert told.exit_code == 0 and "Nothing here yet: in postgresql://" in told.stdout
    assert "No conversation is called" in node.run("sessions", "show", NAME).stderr
    with psycopg.connect(node.url) as connection:
        found = connection.execute("SELECT to_regnamespace('sessionbridge')").fetchone()
    assert found == (None,)
    assert not (node.home / "session_map.db").exists()


def test_any_node_reports_on_all(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.talk()
    two.talk("session-2", SessionKey("slack", "C1", "claude"))
    listed = one.document("sessions", "list", "--json")
    assert {row["session"] for row in listed} == {"session-1", "session-2"}
    assert listed == two.document("sessions", "list", "--json")
    assert [row["turns"] for row in one.document("cost", "--by", "day", "--json")] == [2]
    assert [row["turns"] for row in one.document("savings", "--json")] == [1, 1]
    assert "session session-1 (goes on here)" in two.run("sessions", "show", NAME).stdout


@pytest.mark.parametrize("provider", ["claude", "key"])
def test_an_export_names_transcripts_that_hold_all(nodes: tuple[Node, Node], provider: str) -> None:
    one, two = nodes
    key = replace(KEY, provider=provider)
    one.talk(key=key, said="asked\n")
    two.talk(key=key, said="asked\nasked elsewhere\n")
    for command in (["sessions", "export", NAME], ["sessions", "show", NAME, "--json"]):
        (session,) = one.document(*command)["sessions"]
        transcript = Path(session["transcript"])
        assert transcript.parent == one.of(provider)
        assert transcript.read_text() == "asked\nasked elsewhere\n"


def test_transcripts_are_those_of_the_folder_that_nodes_have_in_common(
    nodes: tuple[Node, Node],
) -> None:
    """Not of the one in which the home works alone."""
    one, two = nodes
    with closing(place_of(one.home, one.url)) as shared:
        shared.common(work_dirs.NAME, str(root(one.home)))
    one.talk()
    two.document("sessions", "export", NAME)
    transcript = transcripts_folder(two.config, one.cwd) / "session-1.jsonl"
    assert transcript.exists()
    assert "deleted 1 transcript." in two.run("sessions", "forget", NAME, "--yes").stdout
    assert not transcript.exists()


def test_what_is_forgotten_is_in_the_database_no_more(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.talk()
    two.talk("session-2", SessionKey("slack", "C1", "claude"))
    two.talk(said="hi\nho\n")
    forget = ("sessions", "forget", NAME)
    assert "and delete 1 transcript?" in one.run(*forget, answer="n\n").stderr
    assert kept(one.url) == ["session-1.jsonl", "session-2.jsonl"]
    told = one.run(*forget, "--yes")
    assert told.stdout.endswith("Forgot 1 conversation and deleted 1 transcript.\n")
    assert kept(one.url) == ["session-2.jsonl"]
    assert one.files() == {}
    # Each node deletes what it has itself.
    assert two.files().keys() == {"session-1.jsonl", "session-2.jsonl"}
    assert "deleted 1 transcript." in two.run(*forget, "--yes").stdout
    assert two.files().keys() == {"session-2.jsonl"}


def test_all_of_it_is_forgotten_or_nothing(nodes: tuple[Node, Node]) -> None:
    node, _ = nodes
    node.talk()
    with psycopg.connect(node.url) as connection:
        connection.execute(REFUSES_DELETES)
    told = node.run("sessions", "forget", NAME, "--yes")
    assert told.exit_code == 1 and "No room for the session database" in told.stderr
    assert len(node.document("sessions", "list", "--json")) == 1
    assert node.files().keys() == {"session-1.jsonl"}


def test_a_conversation_of_more_sessions_than_there_are_connections(
    nodes: tuple[Node, Node],
) -> None:
    node, _ = nodes
    node.talk()

    def commit(db: Database) -> None:
        for number in range(120):
            record = turn(internal_id=f"branch-{number}")
            commits.commit(db, record, 1_000_000.0, f"name-{number}")

    with closing(place_of(node.home, node.url)) as shared:
        shared.store(None, PATIENCE).engine.write(commit)
    told = node.run("sessions", "forget", NAME, "--yes")
    assert told.stdout.endswith("Forgot 1 conversation and deleted 1 transcript.\n")


async def test_forgetting_waits_for_a_turn_on_another_node(
    postgres: Postgres, nodes: tuple[Node, Node]
) -> None:
    one, two = nodes
    two.talk()
    with closing(place_of(two.home, two.url)) as shared:
        async with shared.locks().hold("session-1", lambda: None):
            command = ("sessions", "forget", NAME, "--yes")
            forgetting = asyncio.create_task(asyncio.to_thread(one.run, *command))
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
            while not await asyncio.to_thread(postgres.execute, waiting):
                assert not forgetting.done()
            assert kept(two.url) == ["session-1.jsonl"]
        assert "Forgot 1 conversation" in (await forgetting).stdout
    assert kept(two.url) == []


def test_pruning_forgets_what_no_node_has_used(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.talk()
    with psycopg.connect(one.url) as connection:
        connection.execute("UPDATE sessionbridge.session_map SET last_used_at = 0")
    two.talk("session-2", SessionKey("slack", "C1", "claude"))
    prune = ("sessions", "prune", "--older-than", "30d")
    would = two.run(*prune, "--dry-run").stdout
    assert would.endswith("Would forget 1 conversation and delete 1 transcript.\n")
    assert two.run(*prune).stdout.endswith("Forgot 1 conversation and deleted 1 transcript.\n")
    assert kept(one.url) == ["session-2.jsonl"]


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (["backup", "x.tar.gz"], "pg_dump --schema=sessionbridge"),
        (["restore", "x.tar.gz", "--yes"], "pg_restore"),
        (["sessions", "recover"], "a dump"),
    ],
)
def test_it_is_the_servers_to_be_backed_up(
    tmp_path: Path, command: list[str], instead: str
) -> None:
    node = Node(tmp_path, f"postgresql://bridge:{PASSWORD}@127.0.0.1:9/bridge")
    told = node.run(*command)
    assert told.exit_code == 1 and told.stderr.count("\n") == 1
    assert "postgresql://127.0.0.1:9/bridge" in told.stderr and instead in told.stderr


def test_the_dump_that_the_documentation_shows_brings_all_back(
    postgres: Postgres, nodes: tuple[Node, Node], tmp_path: Path
) -> None:
    one, two = nodes
    one.talk(said="asked\n")
    listed = one.document("sessions", "list", "--json")
    (shown,) = [block for block in blocks(DOCS / "nodes.md", "sh") if "pg_dump" in block]
    dump, restore = shown.splitlines()
    address = urlsplit(one.url)
    variables = {
        "PATH": f"{postgres.programs}:{os.defpath}",
        "PGPASSWORD": PASSWORD,
        VARIABLE: address._replace(netloc=address.netloc.replace(f":{PASSWORD}", "")).geturl(),
    }

    def run(command: str) -> None:
        subprocess.run(["sh", "-c", command], cwd=tmp_path, env=variables, check=True)

    run(dump)
    one.talk(said="answered\n")
    one.talk("session-2", SessionKey("slack", "C1", "claude"))
    run(restore)
    assert one.document("sessions", "list", "--json") == listed
    with psycopg.connect(one.url) as connection:
        connection.execute("DROP SCHEMA sessionbridge CASCADE")
    run(restore)
    (session,) = two.document("sessions", "export", NAME)["sessions"]
    assert Path(session["transcript"]).read_text() == "asked\n"
    two.talk(said="answered\n")
    assert [row["turns"] for row in one.document("cost", "--json")] == [2]


@pytest.mark.parametrize("command", [["sessions", "list"], ["cost"], ["savings"]])
def test_what_cannot_be_reached_is_one_sentence(tmp_path: Path, command: list[str]) -> None:
    node = Node(tmp_path, f"postgresql://bridge:{PASSWORD}@127.0.0.1:9/bridge")
    told = node.run(*command)
    assert told.exit_code == 1 and told.stderr.count("\n") == 1
    assert "postgresql://127.0.0.1:9/bridge cannot be reached" in told.stderr


def test_what_is_no_address_is_not_repeated(tmp_path: Path) -> None:
    told = Node(tmp_path, f"mysql://bridge:{PASSWORD}@127.0.0.1/bridge").run("cost")
    assert told.exit_code == 1
    assert "is not the address of a database" in told.stderr
