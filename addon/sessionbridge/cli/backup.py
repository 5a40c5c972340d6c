"""`sessionbridge backup` and `restore`: all that is kept of the conversations, in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from sessionbridge.claude.profile import config_dir, transcripts_folder
from sessionbridge.claude.work_dirs import root, work_dir
from sessionbridge.cli import backup_file, housekeeping
from sessionbridge.cli.tables import nothing_yet, opened_store, tracked
from sessionbridge.disk import private_folder
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.sqlite import copies
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.turn_files import TurnFiles

_FILE = click.Path(dir_okay=False, path_type=Path)


def config_dir_option[F: Callable[..., Any]](command: F) -> F:
    option = click.option(
        "--config-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Claude's folder, where the proxy gives its CLI another (default: CLAUDE_CONFIG_DIR, "
        "or ~/.claude).",
    )
    return option(command)


def transcripts_of(home: Path, config: Path | None) -> tuple[Path, Path]:
    """The working directory of sessions, and the folder of their transcripts. Raises OSError."""
    cwd = work_dir(root(home.absolute()), "session")
    return cwd, transcripts_folder((config or config_dir(os.environ)).absolute(), cwd)


@click.command(epilog="Example: sessionbridge backup sessions.tar.gz")
@click.argument("file", type=_FILE)
@click.pass_obj
def backup(home: Path, file: Path) -> None:
    """Copy all conversations into FILE.

    That is the database as of one moment and the transcripts, whole and readable: FILE is for you
    alone. Safe while the proxy runs. A FILE that is there is replaced once the new one is whole."""
    with opened_store(home) as store:
        if store is None:
            click.echo(nothing_yet(home))
            return
        folders = housekeeping.folders(home, store.sessions())
    with _problems():
        count = backup_file.write(
            file, home, folders, lambda paths: tracked("Copying", paths, len(paths))
        )
    click.echo(f"{file}: the database and {count} files of transcripts.")


@click.command(epilog="Example: sessionbridge restore sessions.tar.gz")
@click.argument("file", type=_FILE)
@click.option("--yes", is_flag=True, help="Do not ask first.")
@config_dir_option
@click.pass_obj
def restore(home: Path, file: Path, yes: bool, config_dir: Path | None) -> None:
    """Put the conversations of FILE back.

    Stop the proxy first. The database that is there is moved aside. Transcripts that have gone on
    since then stay as they are: the database knows where its turns end in them. FILE may come from
    another machine, or another home."""
    path = home / DATABASE_NAME
    with _problems(), backup_file.opened(file) as archive:
        cwd, folder = transcripts_of(home, config_dir)
        members = backup_file.members(archive)
        if path.exists() and not yes:
            made = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="minutes")
            click.confirm(f"Replace {path} by that of {made}?", abort=True, err=True)
        private_folder(home)
        with TemporaryDirectory(prefix="restore-", dir=home) as work:
            copy = Path(work, DATABASE_NAME)
            backup_file.extract_database(archive, copy)
            for member in tracked("Restoring", members, len(members)):
                backup_file.extract_transcript(archive, member, folder)
            places = {"cwd": str(cwd), "config_dir": str(folder.parent.parent)}
            aside = copies.put_in_place(path, copy, places)
            with closing(SessionStore.open(path)) as store:
                # Those of what has come since would bring it back, were the database lost.
                TurnFiles(folder).replace(store.noted())
    click.echo(f"The database and {len(members)} files of transcripts are back.")
    if aside:
        click.echo(f"The database before is {aside}.")


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, OSError, backup_file.NotABackup) as error:
        raise click.ClickException(str(error)) from error
