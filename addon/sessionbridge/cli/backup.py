"""`sessionbridge backup` and `restore`: all that is kept of the conversations, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from sessionbridge.cli import backup_file, housekeeping
from sessionbridge.cli.tables import chosen_place, nothing_yet, opened_store, tracked
from sessionbridge.cli.transcripts import Folders, config_dirs, folder_options
from sessionbridge.disk import private_folder
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.places import DATABASE_NAME, Place
from sessionbridge.sessions.store.sqlite import copies
from sessionbridge.sessions.store.store import SessionStore

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(epilog="Example: sessionbridge backup sessions.tar.gz")
@click.argument("file", type=_FILE)
@folder_options
@click.pass_obj
def backup(home: Path, file: Path, config_dir: Path | None, config: Path | None) -> None:
    """Copy all conversations into FILE.

    That is the database as of one moment and the transcripts, whole and readable: FILE is for you
    alone. Safe while the proxy runs. A FILE that is there is replaced once the new one is whole."""
    place = chosen_place(home)
    refuse_shared(place, "back it up with  pg_dump --schema=sessionbridge")
    with opened_store(place) as store:
        if store is None:
            click.echo(nothing_yet(place))
            return
        own = Folders(home, config_dirs(config_dir, config))
        folders = housekeeping.folders(own, store.sessions())
    with _problems():
        count = backup_file.write(
            file, home, folders, lambda paths: tracked("Copying", paths, len(paths))
        )
    click.echo(f"{file}: the database and {count} files of transcripts.")


@click.command(epilog="Example: sessionbridge restore sessions.tar.gz")
@click.argument("file", type=_FILE)
@click.option("--yes", is_flag=True, help="Do not ask first.")
@folder_options
@click.pass_obj
def restore(
    home: Path, file: Path, yes: bool, config_dir: Path | None, config: Path | None
) -> None:
    """Put the conversations of FILE back.

    Stop the proxy first. The database that is there is moved aside. Transcripts that have gone on
    since then stay as they are: the database knows where its turns end in them. FILE may come from
    another machine, or another home."""
    refuse_shared(chosen_place(home), "bring a dump of it back with  pg_restore")
    path = home / DATABASE_NAME
    folders = Folders(home, config_dirs(config_dir, config))
    with _problems(), backup_file.opened(file) as archive:
        members = backup_file.members(archive)
        if path.exists() and not yes:
            made = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="minutes")
            click.confirm(f"Replace {path} by that of {made}?", abort=True, err=True)
        private_folder(home)
        with TemporaryDirectory(prefix="restore-", dir=home) as work:
            copy = Path(work, DATABASE_NAME)
            backup_file.extract_database(archive, copy)
            copies.check(copy)
            with closing(SessionStore.open(copy)) as store:
                names = map(backup_file.name_of, members)
                providers = store.engine.read(lambda db: folders.providers(db, names))
            for member in tracked("Restoring", members, len(members)):
                folder = folders.of(providers[backup_file.name_of(member)])
                backup_file.extract_transcript(archive, member, folder)
            aside = copies.put_in_place(path, copy, folders.places)
            with closing(SessionStore.open(path)) as store:
                # Those of what has come since would bring it back, were the database lost.
                folders.note(store.noted())
    click.echo(f"The database and {len(members)} files of transcripts are back.")
    if aside:
        click.echo(f"The database before is {aside}.")


def refuse_shared(place: Place, instead: str) -> None:
    """A database that nodes share is its server's to keep."""
    if place.is_shared:
        raise click.ClickException(
            f"The conversations are in {place.name}, with their transcripts; {instead} (see "
            "docs/nodes.md)."
        )


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, OSError, backup_file.NotABackup) as error:
        raise click.ClickException(str(error)) from error
