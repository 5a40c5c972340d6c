"""`sessionbridge migrate`: conversations move to the database of nodes, and back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner, Result

from sessionbridge.allowances import ClientRules
from sessionbridge.claude.profile import ClaudeProfile, transcripts_folder
from sessionbridge.claude.work_dirs import NAME, chosen, root, work_dir
from sessionbridge.cli.main import cli
from sessionbridge.client_tokens import made as made_token
from sessionbridge.model import SessionKey, Usage
from sessionbridge.sessions.store import commits, copying
from sessionbridge.sessions.store.engine import PATIENCE, Database, Engine
from sessionbridge.sessions.store.ledger import PassedTurn, UnkeptTurn
from sessionbridge.sessions.store.places import DATABASE_NAME, VARIABLE, Home, place_of
from sessionbridge.sessions.store.store import SessionStore
from tests.support.pgbouncer import running_pgbouncer
from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import environment, wait_for
from tests.support.turn_records import KEY, turn

ODD = SessionKey("slack", "a\0b", "claude")
UNKEPT = UnkeptTurn(
    plan="resume",
    reason="continued",
    process="live",
    status="failed",
    api="anthropic",
    model="m",
    usage=Usage(1, 2, 3, 4),
    cost_usd=None,
    started_at=5.5,
    ttft_ms=None,
    duration_ms=6,
)
PASSED = PassedTurn("api.openai.com", "openai", "gpt", "stop", Usage(1, 2, 3, 4), 0.5, 7.25, 8)


class Place:
    """A home of the bridge with Claude's folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.config = folder / "claude"
        self.cwd = work_dir(chosen(self.home), "session")
        self.url = ""

    @property
    def transcripts(self) -> Path:
        return transcripts_folder(self.config, work_dir(root(self.home), "session"))

    def profile(self, common: Callable[[str], str] | None = None) -> ClaudeProfile:
        inherited = {"CLAUDE_CONFIG_DIR": str(self.config)}
        return ClaudeProfile(self.home, None, {}, 0, inherited, common)

    def of(self, provider: str) -> Path:
        """The folder of its transcripts: `near` has Claude's in common with the default provider,
        `far` one of its own."""
        config = self.home.parent / "far" if provider == "far" else self.config
        return transcripts_folder(config, work_dir(root(self.home), "session", provider))

    def talk_at(self, provider: str) -> None:
        """And creates a conversation that has no turns."""
        folder, cwd = self.of(provider), work_dir(root(self.home), "session", provider)
        where = {"cwd": str(cwd), "config_dir": str(folder.parent.parent)}
        key = replace(KEY, provider=provider)
        with closing(Home(self.home).store(lambda: folder, PATIENCE)) as store:
            store.commit(turn(key=key, internal_id=f"at-{provider}", metadata=where))
        mark = sha256(provider.encode()).hexdigest()[:8]
        for name in (f"at-{provider}.jsonl", f"conv_sb{'1' * 32}{mark}.conversation"):
            (folder / name).write_text(json.dumps(provider) + "\n")

    def providers(self) -> Path:
        """The config that has them."""
        file = self.home.parent / "providers.toml"
        far = f"[providers.far]\nconfig_dir = '{self.home.parent / 'far'}'\n"
        file.write_text(f"[providers.near]\n{far}")
        return file

    def be_a_node(self, url: str) -> None:
        """For as long as one needs to find out where to work."""
        with closing(place_of(self.home, url)) as shared:
            assert self.profile(partial(shared.common, NAME)).transcripts

    def store(self) -> closing[SessionStore]:
        return closing(Home(self.home).store(lambda: self.transcripts, PATIENCE))

    def talk(self, session: str = "session-1", key: SessionKey = KEY, **changes: Any) -> None:
        where = {"cwd": str(self.cwd), "config_dir": str(self.config), "history": "server"}
        with self.store() as store:
            store.commit(turn(key=key, internal_id=session, metadata=where, **changes))
        self.write(f"{session}.jsonl", f"what {session} said\n")

    def write(self, name: str, text: str) -> None:
        (self.transcripts / name).write_text(text)

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.transcripts.iterdir())}

    def run(self, *arguments: str | Path) -> Result:
        command = ["--home", str(self.home), *map(str, arguments)]
        env = {"CLAUDE_CONFIG_DIR": str(self.config), VARIABLE: self.url}
        result = CliRunner().invoke(cli, command, env=env)
        assert PASSWORD not in result.output
        return result


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With a row of each kind, and a gap in the numbers."""
    made = Place(tmp_path / "one")
    made.talk(response_id="r1")
    made.write("session-1.instructions", '{"be": "kind"}\n')
    made.write("conv_1.conversation", "{}\n")
    made.talk("session-2", ODD, points=(("later", "b"), ("earlier", "a")))
    (made.home / "summary-key").write_text("a key")
    with made.store() as store:
        store.count_unkept(KEY, UNKEPT)
        store.passed(PASSED)
        store.set(SessionKey("goclaw", "noted", "claude"), "none yet", {"trying": "x"})
        store.add_client("ann", made_token()[1], ClientRules(fallback=False))
        store.add_client("bob", made_token()[1], ClientRules())
        store.revoke_client("bob")
        store.engine.write(
            lambda db: db.execute(
                "INSERT INTO spending (id, client, provider, started_at, cost_usd, tokens)"
                " VALUES (7, 'ann', 'claude', 5.5, 0.25, 1000)",
                {},
            )
        )
        store.engine.write(lambda db: db.execute("UPDATE turns SET id = id + 40 WHERE id > 1", {}))
        store.engine.write(
            lambda db: db.execute("UPDATE points SET turn_id = 42 WHERE turn_id = 2", {})
        )
    return made


@pytest.fixture
def other(tmp_path: Path) -> Place:
    """Of another machine, where no proxy has been yet."""
    made = Place(tmp_path / "other")
    (made.home / "work_dir").unlink()
    return made


def rows(store: SessionStore) -> dict[str, list[dict[str, Any]]]:
    """All that is in the tables, in their order."""
    orders = {
        **{"session_map": "scope, created_at", "turns": "id", "points": "rowid"},
        **{"clients": "name", "spending": "started_at"},
    }

    def read(db: Database) -> dict[str, list[dict[str, Any]]]:
        return {
            table: [dict(row) for row in db.query(f"SELECT * FROM {table} ORDER BY {by}", {})]
            for table, by in orders.items()
        }

    found = store.engine.read(read)
    for point in found["points"]:
        point.pop("rowid", None)
    for spent in found["spending"]:
        spent.pop("id")
    return found


def shared_rows(url: str) -> dict[str, list[dict[str, Any]]]:
    with closing(place_of(Path(), url)) as shared, closing(shared.store(None, PATIENCE)) as store:
        return rows(store)


def without_nul(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """PostgreSQL's texts hold none."""
    for table in found.values():
        for row in table:
            if "external_id" in row:
                row["external_id"] = row["external_id"].replace("\0", "\ufffd")
    return found


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def test_there_and_back(place: Place, other: Place, database: str) -> None:
    with place.store() as store:
        before = without_nul(rows(store))
    files = place.files()
    told = done(place.run("migrate", "--to", database))
    name = database.partition("@")[2]
    assert told == (
        f"postgresql://{name}: rows of session_map 3 of 3, turns 4 of 4, points 4 of 4, "
        "clients 2 of 2, spending 1 of 1; 3 transcripts.\n"
        f"Compared with {place.home / DATABASE_NAME}: 4 turns with their conversations and points, "
        "3 transcripts. All are the same.\n"
    )
    assert shared_rows(database) == before
    assert place.files() == files
    with place.store() as store:
        assert without_nul(rows(store)) == before
    told = done(other.run("migrate", "--from", database))
    assert "All are the same." in told
    assert other.files().keys() == files.keys()
    assert {n: t for n, t in other.files().items() if not n.endswith(".turns")} == {
        n: t for n, t in files.items() if not n.endswith(".turns")
    }
    with other.store() as store:
        found = without_nul(rows(store))
    for row in found["session_map"]:
        assert json.loads(row["metadata"])["config_dir"] == str(other.config)
        row.pop("metadata")
    for row in before["session_map"]:
        row.pop("metadata")
    assert found == before
    assert root(other.home) == root(place.home)
    assert (other.home / "summary-key").read_text() == "a key"


def test_the_transcripts_of_each_provider_are_its_own(
    place: Place, other: Place, database: str
) -> None:
    for provider in ("near", "far"):
        place.talk_at(provider)
    assert "7 transcripts" in done(place.run("migrate", "--to", database))
    refused = other.run("migrate", "--from", database)
    assert refused.exit_code == 1
    assert "Where transcripts of far, near belong is not known: name the proxy's" in refused.stderr
    assert not other.config.exists() and not (other.home / "work_dir").exists()
    # What only this home knows of a provider has its place there, too.
    other.of("far").mkdir(parents=True)
    (other.of("far") / "of-its-own.jsonl").touch()
    done(other.run("migrate", "--from", database, "--config", other.providers()))
    for provider in ("near", "far"):
        found = {path.name: path.read_text() for path in other.of(provider).iterdir()}
        assert found.pop(f"at-{provider}.turns")
        assert found.pop("of-its-own.jsonl", None) == ("" if provider == "far" else None)
        assert found == {
            path.name: path.read_text()
            for path in place.of(provider).iterdir()
            if path.suffix != ".turns"
        }
    with other.store() as store:
        for provider in ("near", "far"):
            row = store.holdings(replace(KEY, provider=provider)).row
            assert row and row.metadata["cwd"] == str(
                work_dir(root(other.home), "session", provider)
            )
            assert row.metadata["config_dir"] == str(other.of(provider).parent.parent)
    assert "8 transcripts. All are the same." in done(other.run("migrate", "--to", database))


def test_through_pgbouncer(postgres: Postgres, place: Place, other: Place, database: str) -> None:
    with running_pgbouncer(postgres, "transaction") as port:
        address = urlsplit(database)
        netloc = f"{address.username}:{address.password}@127.0.0.1:{port}"
        place.url = other.url = address._replace(netloc=netloc).geturl()
        assert "All are the same." in done(place.run("migrate", "--from", "sqlite:"))
        assert "All are the same." in done(other.run("migrate", "--to", "sqlite:"))


@pytest.mark.parametrize("lost", [False, True])
def test_the_home_works_after_the_way_back(
    place: Place, other: Place, database: str, lost: bool
) -> None:
    done(place.run("migrate", "--to", database))
    other.url = database
    done(other.run("migrate", "--to", "sqlite:"))
    other.url = ""
    for path in (*other.home.rglob("*"), *other.config.rglob("*"), other.home):
        assert path.stat().st_mode & 0o077 == 0, path
    if lost:
        (other.home / DATABASE_NAME).unlink()
    with other.store() as store:
        assert [one.response_id for one in store.turns(KEY) if one.kept] == ["r1"]
        assert store.commit(turn(response_id="r2", internal_id="session-1")) > 41
    assert "deleted 1 transcript" in done(other.run("sessions", "forget", KEY.external_id, "--yes"))
    assert (place.transcripts / "session-1.jsonl").exists()


@pytest.mark.parametrize(
    "steps",
    [
        ["node"],
        ["other node", "node"],
        ["to", "node", "from"],
        ["other node", "node", "to", "node", "from"],
        ["to", "other node", "other from", "other node", "other to", "node", "from"],
        ["to", "node", "other node", "other from", "node"],
    ],
    ids=", ".join,
)
def test_a_home_alone_finds_its_transcripts_whatever_it_has_been(
    place: Place, other: Place, database: str, steps: list[str]
) -> None:
    """And its CLI works where they say."""
    homes = {"": place, "other ": other}
    for step in steps:
        whose, doing = next(
            (homes[name], step.removeprefix(name))
            for name in ("other ", "")
            if step.startswith(name)
        )
        if doing == "node":
            whose.be_a_node(database)
        else:
            done(whose.run("migrate", f"--{doing}", database))
    for one in (place, other) if "other from" in steps else (place,):
        alone = one.profile()
        with one.store() as store:
            places = {row.internal_id: row.metadata for row in store.sessions()}
        assert {"session-1", "session-2"} < places.keys()
        for session in ("session-1", "session-2"):
            assert places[session]["cwd"] == str(alone.work_dir("session"))
            assert alone.transcript(session).read_text() == f"what {session} said\n"


def test_what_was_forgotten_at_the_nodes_is_not_in_the_home_again(
    place: Place, other: Place, database: str
) -> None:
    """What they have never had, or a conversation still needs, stays."""
    conversation, of_its_own, unspoken = (f"conv_sb{digit * 32}" for digit in "123")
    place.talk("session-3", SessionKey("openai", conversation, "claude"), started_at=9.0)
    for created in (conversation, unspoken):
        place.write(f"{created}.conversation", "{}\n")
    done(place.run("migrate", "--to", database))
    files = place.files()
    other.url = database
    for name in (KEY.external_id, conversation):
        done(other.run("sessions", "forget", name, "--yes"))
    # On a machine of its own that node has deleted none of them here.
    for name in (*files, "of-its-own.jsonl", f"{of_its_own}.conversation"):
        place.write(name, files.get(name, "{}\n"))
    with psycopg.connect(database) as connection:
        deleted = ["session-2.jsonl", f"{unspoken}.conversation"]
        connection.execute("DELETE FROM sessionbridge.files WHERE name = ANY(%s)", [deleted])
    done(place.run("migrate", "--from", database))
    begun = ("session-1.", "session-3.", conversation, unspoken)
    gone = {name for name in files if name.startswith(begun)}
    own = {"of-its-own.jsonl", f"{of_its_own}.conversation"}
    assert place.files().keys() == files.keys() - gone | own


def test_what_no_database_knows_stays_in_the_home(
    place: Place, other: Place, database: str
) -> None:
    """A conversation that a client has created, and not yet spoken in."""
    assert chosen(other.home) != chosen(place.home)
    other.transcripts.mkdir(parents=True)
    other.write("conv_2.conversation", "{}\n")
    done(place.run("migrate", "--to", database))
    done(other.run("migrate", "--from", database))
    assert other.files().keys() == place.files().keys() | {"conv_2.conversation"}


def test_a_name_with_a_nul_moves_there_and_back(place: Place, database: str) -> None:
    with place.store() as store:
        store.set(SessionKey("goclaw", "a\0b", "claude"), "none yet", {})
    for end in ("--to", "--to", "--from", "--from", "--to"):
        assert "All are the same." in done(place.run("migrate", end, database))
    with place.store() as store:
        assert shared_rows(database) == rows(store)


def test_the_nodes_number_on(place: Place, database: str) -> None:
    done(place.run("migrate", "--to", database))
    with closing(place_of(place.home, database)) as shared:
        store = shared.store(lambda: place.transcripts, PATIENCE)
        assert store.commit(turn(response_id="r2", internal_id="session-1")) == 45


@pytest.mark.parametrize("end", ["sqlite:", "sqlite:{home}", "sqlite:{home}/session_map.db"])
def test_a_home_has_several_names(place: Place, database: str, end: str) -> None:
    place.url = database
    told = done(place.run("migrate", "--from", end.format(home=place.home)))
    assert "turns 4 of 4" in told


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ([], "Name one end"),
        (["--from", "sqlite:"], f"Name the other end, too, or set {VARIABLE}"),
        (["--from", "sqlite:", "--to", "sqlite:x"], "One end is to be sqlite"),
        (["--from", f"mysql://a:{PASSWORD}@b"], "An end is named as"),
        (["--to", f"postgresql://a:{PASSWORD}@127.0.0.1:9/b"], "cannot be reached"),
    ],
)
def test_what_cannot_be_is_one_sentence(place: Place, ends: list[str], told: str) -> None:
    result = place.run("migrate", *ends)
    assert result.exit_code in (1, 2) and told in result.stderr
    assert "Traceback" not in result.stderr


def test_other_conversations_are_left_as_they_are(
    place: Place, other: Place, database: str
) -> None:
    other.talk("session-9", SessionKey("slack", "C9", "claude"), started_at=9.0)
    done(other.run("migrate", "--to", database))
    there, files = shared_rows(database), other.files()
    refused = place.run("migrate", "--to", database)
    assert refused.exit_code == 1
    assert "holds 1 turns, conversations or clients that" in refused.stderr
    assert shared_rows(database) == there
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM sessionbridge.turns")
        connection.execute("DELETE FROM sessionbridge.points")
    assert "holds 1 turns, " in place.run("migrate", "--to", database).stderr
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM sessionbridge.session_map")
    with other.store() as store:
        store.add_client("cid", made_token()[1], ClientRules())
    done(other.run("migrate", "--to", database))
    with psycopg.connect(database) as connection:
        for table in ("turns", "points", "session_map"):
            connection.execute(f"DELETE FROM sessionbridge.{table}")
    assert "holds 1 turns, " in place.run("migrate", "--to", database).stderr
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM sessionbridge.clients")
    done(place.run("migrate", "--to", database))
    refused = other.run("migrate", "--from", database)
    assert refused.exit_code == 1 and other.files() == files


def test_a_lost_database_of_the_target_counts_by_what_is_noted(
    place: Place, other: Place, database: str
) -> None:
    done(place.run("migrate", "--to", database))
    other.talk("session-9", SessionKey("slack", "C9", "claude"))
    (other.home / DATABASE_NAME).unlink()
    assert "holds 1 turns, " in other.run("migrate", "--from", database).stderr
    assert "session-9.turns" in other.files()


def test_what_has_changed_since_the_last_run_is_copied_too(place: Place, database: str) -> None:
    done(place.run("migrate", "--to", database))
    with place.store() as store:
        store.forget_response("r1")
        store.delete(ODD)
        store.get(KEY)
    (place.transcripts / "session-2.jsonl").unlink()
    place.talk(response_id="r2")
    place.write("session-1.jsonl", "what session-1 said\nand more\n")
    assert "turns 5 of 5" in done(place.run("migrate", "--to", database))
    with place.store() as store:
        assert shared_rows(database) == without_nul(rows(store))
    with closing(place_of(place.home, database)) as shared:
        store = shared.store(lambda: place.transcripts, PATIENCE)
        assert store.are_here("session-1") and store.has_files("session-1")
        assert not store.has_files("session-2")


class Dying:
    """An engine whose process is killed after one write."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._has_written = False
        self.read = engine.read

    def write(self, work: Callable[[Database], Any]) -> Any:
        if self._has_written:
            raise KeyboardInterrupt
        self._has_written = True
        return self._engine.write(work)


def untracked(doing: str, steps: Iterable[Any], number: int) -> Iterable[Any]:
    taken = list(steps)
    assert len(taken) == number, doing
    return taken


def test_it_goes_on_wherever_it_was_ended(filled: Home, database: str) -> None:
    """Each batch is a transaction, so that between two is any moment."""
    with (
        closing(filled.store(None, PATIENCE)) as source,
        closing(place_of(Path(), database)) as shared,
    ):
        target, runs = shared.store(None, PATIENCE), 1
        while not source.engine.read(partial(copied, Dying(target.engine))):
            runs += 1
        # Two batches of turns, three of points, and the map.
        assert runs == 2 + 3 + 1
        assert rows(source) == rows(target)


def copied(target: Any, source: Database) -> bool:
    """Whether it came to its end."""
    try:
        assert target.read(lambda there: copying.strangers(source, there)) == 0
        copying.copy_turns(source, target, untracked)
        copying.copy_map(source, target, {}, untracked)
    except KeyboardInterrupt:
        return False
    return True


def test_it_goes_on_after_kill_9(filled: Home, database: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("sessionbridge")
    options = ["migrate", "--from", f"sqlite:{filled.database}"]
    variables = environment(tmp_path) | {VARIABLE: database}
    with subprocess.Popen([program, *options], env=variables) as process:
        try:
            wait_for(lambda: turns_in(database), "turns to be copied")
        finally:
            process.kill()
    told = done(CliRunner().invoke(cli, options, env=variables))
    assert "turns 1,500 of 1,500, points 3,000 of 3,000" in told
    with closing(filled.store(None, PATIENCE)) as store:
        assert shared_rows(database) == rows(store)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With more turns than there are in a batch."""
    home = Home(tmp_path_factory.mktemp("filled"))

    def commit(db: Database) -> None:
        for number in range(1500):
            key = SessionKey("goclaw", f"user-{number % 50}", "claude")
            points = ((f"ask-{number}", "a"), (f"history-{number}", "b"))
            record = turn(key=key, points=points)
            commits.commit(db, record, 1_000_000.0 + number, f"name-{number}")

    with closing(home.store(None, PATIENCE)) as store:
        store.engine.write(commit)
    return home


def turns_in(url: str) -> int:
    with psycopg.connect(url) as connection:
        there = connection.execute("SELECT to_regclass('sessionbridge.turns')").fetchone()
        if there == (None,):
            return 0
        found = connection.execute("SELECT count(*) FROM sessionbridge.turns").fetchone()
    assert found is not None
    return int(found[0])


def test_a_proxy_that_goes_on_meanwhile_is_told(place: Place, database: str) -> None:
    done(place.run("migrate", "--to", database))
    with ThreadPoolExecutor() as threads, psycopg.connect(database) as connection:
        connection.execute("LOCK TABLE sessionbridge.session_map")
        migrating = threads.submit(place.run, "migrate", "--to", database)
        wait_for(lambda: is_waiting(database), "the map to be copied")
        place.talk(response_id="r2")
        connection.commit()
        told = migrating.result()
    assert told.exit_code == 1
    assert "meanwhile; stop all proxies, and run this again" in told.stderr
    assert "turns 5 of 5" in done(place.run("migrate", "--to", database))


def is_waiting(url: str) -> bool:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone()
    return found is not None


def test_a_transcript_that_cannot_be_read_is_told(
    place: Place, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modes do not bind root, whom tests may run as."""
    read, broken = Path.read_bytes, place.transcripts / "session-2.jsonl"

    def refused(path: Path) -> bytes:
        if path == broken:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    told = place.run("migrate", "--to", database)
    assert told.exit_code == 1
    assert "Permission denied" in told.stderr and told.stderr.count("\n") == 1
    assert str(place.transcripts) in told.stderr and DATABASE_NAME not in told.stderr


_ALTERING = """
    CREATE FUNCTION altered() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN NEW.{column} := 'x'; RETURN NEW; END $$;
    CREATE TRIGGER altering BEFORE INSERT ON sessionbridge.{table}
        FOR EACH ROW EXECUTE FUNCTION altered();
"""


@pytest.mark.parametrize(
    ("table", "column"),
    [("turns", "model"), ("points", "entry_uuid"), ("session_map", "internal_id")],
)
def test_what_is_not_the_same_at_the_end_is_told(
    place: Place, database: str, table: str, column: str
) -> None:
    with closing(place_of(place.home, database)) as shared:
        shared.store(None, PATIENCE)
    with psycopg.connect(database) as connection:
        connection.execute(_ALTERING.format(table=table, column=column).encode())
    told = place.run("migrate", "--to", database)
    assert told.exit_code == 1
    assert f"It is not what {place.home / DATABASE_NAME} holds (turn 1, " in told.stderr


def test_what_was_altered_is_told(place: Place, other: Place, database: str) -> None:
    done(place.run("migrate", "--to", database))
    with psycopg.connect(database) as connection:
        damaged = "UPDATE sessionbridge.files SET digest = 'x' WHERE name = 'session-1.jsonl'"
        connection.execute(damaged)
    told = other.run("migrate", "--from", database)
    assert told.exit_code == 1 and "session-1.jsonl is damaged" in told.stderr
    assert not list(other.transcripts.glob("session-1.jsonl"))
