"""`sessionbridge backup`, `restore` and `sessions recover`."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sessionbridge.claude.profile import ClaudeProfile, transcripts_folder
from sessionbridge.claude.work_dirs import DEFAULT, chosen, root, work_dir
from sessionbridge.cli.main import cli
from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.turn_records import KEY, turn


class Place:
    """A home of the bridge with one turn in it, and the CLI's folder. Unless it `works`, no proxy
    has been there yet."""

    def __init__(self, folder: Path, name: str = "one", *, works: bool = True) -> None:
        self.folder = folder / name
        self.home = self.folder / "home"
        self.config = self.folder / "claude"
        self.home.mkdir(parents=True, exist_ok=True)
        self.cwd = work_dir((chosen if works else root)(self.home), "session")
        self.database = self.home / DATABASE_NAME
        self.transcripts = transcripts_folder(self.config, self.cwd)

    def store(self) -> closing[SessionStore]:
        return closing(SessionStore.open(self.database, transcripts=self.transcripts))

    def talk(self, session: str = "session-1", key: SessionKey = KEY, response: str = "r1") -> None:
        where = {"cwd": str(self.cwd), "config_dir": str(self.config)}
        with self.store() as store:
            record = turn(key=key, internal_id=session, metadata=where, response_id=response)
            store.commit(record)
        self.write(f"{session}.jsonl", f"what {session} said\n")

    def write(self, name: str, text: str) -> Path:
        path = self.transcripts / name
        path.write_text(text)
        return path

    def run(self, *arguments: object, answer: str | None = None) -> Result:
        command = ["--home", str(self.home), *map(str, arguments)]
        environment = {"CLAUDE_CONFIG_DIR": str(self.config)}
        return CliRunner().invoke(cli, command, env=environment, input=answer)

    def of(self, provider: str) -> Path:
        """The folder of its transcripts: `near` has Claude's in common with the default provider,
        `far` one of its own."""
        config = self.folder / "far" if provider == "far" else self.config
        return transcripts_folder(config, work_dir(root(self.home), "session", provider))

    def talk_at(self, provider: str) -> None:
        """And creates a conversation that has no turns."""
        folder = self.of(provider)
        key = replace(KEY, provider=provider)
        cwd = work_dir(root(self.home), "session", provider)
        where = {"cwd": str(cwd), "config_dir": str(folder.parent.parent)}
        with closing(SessionStore.open(self.database, transcripts=folder)) as store:
            store.commit(turn(key=key, internal_id=f"at-{provider}", metadata=where))
        mark = sha256(provider.encode()).hexdigest()[:8]
        for name in (f"at-{provider}.jsonl", f"conv_sb{'1' * 32}{mark}.conversation"):
            (folder / name).write_text(f"{provider}'s\n")

    def providers(self) -> Path:
        """The config that has them."""
        file = self.folder / "providers.toml"
        tables = f"[providers.near]\n[providers.far]\nconfig_dir = '{self.folder / 'far'}'\n"
        file.write_text(tables)
        return file

    def responses(self, key: SessionKey = KEY) -> list[str | None]:
        with closing(SessionStore.open(self.database)) as store:
            return [one.response_id for one in store.turns(key)]

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.transcripts.iterdir()}

    def lose(self) -> None:
        for file in self.home.glob(f"{DATABASE_NAME}*"):
            file.unlink()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.talk()
    made.write("session-1.instructions", "be kind\n")
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.tar.gz"


def done(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def test_all_is_back_as_it_was(place: Place, file: Path) -> None:
    told = done(place.run("backup", file))
    assert told == f"{file}: the database and 2 files of transcripts.\n"
    assert file.stat().st_mode & 0o777 == 0o600
    before = place.files()
    place.talk("session-2", response="r2")
    place.write("session-1.jsonl", "altered\n")
    told = done(place.run("restore", file, "--yes"))
    assert place.responses() == ["r1"]
    (aside,) = place.home.glob(f"{DATABASE_NAME}.replaced-*[0-9]")
    assert told == (
        f"The database and 2 files of transcripts are back.\nThe database before is {aside}.\n"
    )
    for name in ("session-1.jsonl", "session-1.instructions"):
        assert place.files()[name] == before[name]
    assert sorted(path.name for path in place.home.iterdir() if path.is_dir()) == []


def test_a_transcript_that_has_gone_on_stays(place: Place, file: Path) -> None:
    done(place.run("backup", file))
    longer = place.write("session-1.jsonl", "what session-1 said\nand more\n")
    done(place.run("restore", file, "--yes"))
    assert longer.read_text() == "what session-1 said\nand more\n"


def test_what_has_come_since_does_not_come_back(place: Place, file: Path) -> None:
    done(place.run("backup", file))
    place.talk(response="undone")
    place.talk_at("near")
    done(place.run("restore", file, "--yes"))
    place.talk(response="r2")
    place.lose()
    with place.store():
        assert place.responses() == ["r1", "r2"]
    assert "0 turns" in done(place.run("sessions", "recover"))


def test_a_transcript_that_is_damaged_is_put_back(place: Place, file: Path) -> None:
    done(place.run("backup", file))
    before = place.files()
    for name, text in before.items():
        place.write(name, "\0" * len(text))
    done(place.run("restore", file, "--yes"))
    assert {name: place.files()[name] for name in before if name[-6:] != ".turns"} == {
        name: text for name, text in before.items() if name[-6:] != ".turns"
    }


def test_it_moves_to_another_home(place: Place, file: Path, tmp_path: Path) -> None:
    done(place.run("backup", file))
    other = Place(tmp_path, "other")
    done(other.run("restore", file))
    assert other.responses() == ["r1"]
    assert other.files().keys() == place.files().keys()
    other.lose()
    with other.store():
        assert other.responses() == ["r1"]
    assert "2 files of transcripts" in done(other.run("backup", file))
    # What is deleted of it is what lies there, and not in the first home.
    done(other.run("sessions", "forget", KEY.external_id, "--yes"))
    assert other.files() == {}
    assert len(place.files()) == 3


def test_each_provider_has_its_own_back(place: Place, file: Path, tmp_path: Path) -> None:
    for provider in ("near", "far"):
        place.talk_at(provider)
    assert "6 files of transcripts" in done(place.run("backup", file))
    other = Place(tmp_path, "other")
    refused = other.run("restore", file)
    assert refused.exit_code == 1
    assert "Where transcripts of far, near belong is not known: name the proxy's" in refused.stderr
    assert not other.database.exists() and not other.config.exists()
    done(other.run("restore", file, "--config", other.providers()))
    for provider in ("near", "far"):
        files = {path.name: path.read_text() for path in other.of(provider).iterdir()}
        assert files.pop(f"at-{provider}.turns")
        assert files == {
            path.name: f"{provider}'s\n"
            for path in place.of(provider).iterdir()
            if path.suffix != ".turns"
        }
    other.lose()
    told = done(other.run("sessions", "recover", "--config", other.providers()))
    assert told.startswith("3 turns of 3 conversations recovered from ")
    for provider in ("near", "far"):
        with closing(SessionStore.open(other.database)) as store:
            held = store.holdings(replace(KEY, provider=provider))
        assert held.row and held.row.metadata["config_dir"] == str(other.of(provider).parent.parent)
    assert "6 files of transcripts" in done(other.run("backup", file))


def test_the_first_proxy_of_a_home_finds_what_was_restored_there(
    place: Place, file: Path, tmp_path: Path
) -> None:
    for provider in ("near", "far"):
        place.talk_at(provider)
    done(place.run("backup", file))
    other = Place(tmp_path, "other", works=False)
    done(other.run("restore", file, "--config", other.providers()))
    for provider, session in {DEFAULT: "session-1", "near": "at-near", "far": "at-far"}.items():
        inherited = {"CLAUDE_CONFIG_DIR": str(other.of(provider).parent.parent)}
        claude = ClaudeProfile(other.home, None, {}, 0, inherited, provider=provider)
        assert claude.transcript(session).exists()


def test_a_conversation_without_turns_is_found_by_the_config(place: Place, file: Path) -> None:
    """Where nothing else of its provider leads to the folder."""
    place.of("far").mkdir(parents=True)
    mark = sha256(b"far").hexdigest()[:8]
    kept = place.of("far") / f"conv_sb{'1' * 32}{mark}.conversation"
    kept.write_text("created\n")
    assert "2 files of transcripts" in done(place.run("backup", file))
    assert "3 files of transcripts" in done(
        place.run("backup", file, "--config", place.providers())
    )
    kept.unlink()
    done(place.run("restore", file, "--yes", "--config", place.providers()))
    assert kept.read_text() == "created\n"


def test_it_is_made_while_others_write(place: Place, file: Path) -> None:
    with closing(sqlite3.connect(place.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE turns SET response_id = 'not committed'")
        done(place.run("backup", file))
        other.rollback()
    done(place.run("restore", file, "--yes"))
    assert place.responses() == ["r1"]


def test_who_is_asked_and_says_no_keeps_what_is_there(place: Place, file: Path) -> None:
    done(place.run("backup", file))
    place.talk("session-2", response="r2")
    assert place.run("restore", file, answer="n\n").exit_code == 1
    assert place.responses() == ["r1", "r2"]


def test_no_backup_is_left_half_made(place: Place, file: Path) -> None:
    file.write_text("the one before")
    place.database.write_bytes(b"garbage " * 1000)
    place.home.joinpath(f"{DATABASE_NAME}-wal").unlink(missing_ok=True)
    result = place.run("backup", file)
    assert result.exit_code == 0 or "Error" in result.stderr
    assert sorted(file.parent.glob("*backup*")) == [file]


def test_none_is_made_where_the_transcripts_cannot_be_read(place: Place, file: Path) -> None:
    shutil.rmtree(place.transcripts)
    place.transcripts.symlink_to(place.transcripts)
    result = place.run("backup", file)
    assert result.exit_code == 1 and str(place.transcripts) in result.stderr
    assert not file.exists()


def test_nothing_to_copy(tmp_path: Path, file: Path) -> None:
    assert "Nothing here yet" in done(Place(tmp_path, "new").run("backup", file))
    assert not file.exists()


def archive(file: Path, **members: bytes) -> None:
    with tarfile.open(file, "w:gz") as made:
        for name, content in members.items():
            one = tarfile.TarInfo(name.replace("__", "/"))
            one.size = len(content)
            made.addfile(one, io.BytesIO(content))


def test_what_is_no_backup_changes_nothing(place: Place, file: Path) -> None:
    before, database = place.files(), place.database.read_bytes()
    for members in [
        None,
        {},
        {"other": b""},
        {DATABASE_NAME: b"x", "transcripts__deeper__x.jsonl": b"x"},
        {DATABASE_NAME: b"no database", "transcripts__x.jsonl": b""},
    ]:
        if members is None:
            file.write_bytes(b"no archive")
        else:
            archive(file, **members)
        result = place.run("restore", file, "--yes")
        assert result.exit_code == 1 and result.stderr.startswith("Error: "), result.output
        place.transcripts.joinpath("x.jsonl").unlink(missing_ok=True)
        assert (place.files(), place.database.read_bytes()) == (before, database)


def test_a_backup_of_a_later_version_is_refused(place: Place, file: Path) -> None:
    with closing(sqlite3.connect(place.database)) as db:
        db.execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES (?, ?)", LATER)
        db.commit()
        with tarfile.open(file, "w:gz") as made:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            made.add(place.database, DATABASE_NAME)
    place.lose()
    result = place.run("restore", file)
    assert "was made by a later version of sessionbridge (m999_later)" in result.stderr
    assert not place.database.exists()


LATER = ("sessionbridge", "m999_later")


def test_what_the_database_has_lost_is_recovered(place: Place) -> None:
    place.lose()
    other = SessionKey("slack", "C1", "claude")
    with closing(SessionStore.open(place.database)) as store:
        store.commit(turn(key=other, internal_id="session-9", response_id="r9"))
    told = done(place.run("sessions", "recover"))
    assert told == f"1 turn of 1 conversation recovered from {place.transcripts}.\n"
    assert (place.responses(), place.responses(other)) == (["r1"], ["r9"])
    assert "0 turns of 0 conversations" in done(place.run("sessions", "recover"))


def test_so_is_what_another_provider_has_noted(place: Place) -> None:
    """In the same folder of Claude's, beside the transcripts of its own working directory."""
    there = transcripts_folder(place.config, work_dir(root(place.home), "session", "key"))
    with closing(SessionStore.open(place.database, transcripts=there)) as store:
        store.commit(turn(key=replace(KEY, provider="key"), internal_id="session-2"))
    place.lose()
    with closing(SessionStore.open(place.database)) as store:
        store.commit(turn(key=SessionKey("slack", "C1", "claude"), internal_id="session-9"))
    told = done(place.run("sessions", "recover"))
    assert told.startswith("2 turns of 2 conversations recovered from ")


def test_the_doctor_says_how_old_the_last_backup_is(place: Place, file: Path) -> None:
    def told() -> str:
        lines = place.run("doctor", "--json", "--confdir", place.home).stdout
        return next(part for part in lines.split("{") if '"Backup"' in part)

    assert "none yet; `sessionbridge backup FILE`" in told()
    done(place.run("backup", file))
    assert f"made today: {file}" in told()
    mark = place.home / "last-backup"
    os.utime(mark, (mark.stat().st_mtime - 3 * 86_400,) * 2)
    assert f"made 3 days ago: {file}" in told()
