"""`sessionbridge migrate`: all conversations from a home to the database of nodes, or back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from sessionbridge.cli.moves import Move, Moved, ToHome, ToNodes
from sessionbridge.cli.tables import nothing_yet, tracked
from sessionbridge.cli.transcripts import ConfigDirs, Folders, config_dirs, folder_options
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store import copying
from sessionbridge.sessions.store.copying import Compared
from sessionbridge.sessions.store.engine import PATIENCE, Database
from sessionbridge.sessions.store.places import (
    DATABASE_NAME,
    SCHEMES,
    VARIABLE,
    Home,
    Place,
    place_of,
)
from sessionbridge.sessions.store.store import SessionStore

_SQLITE = "sqlite:"

_PATIENCE = 120.0
"""Seconds for one question: to sort millions of points takes its time."""


@click.command(epilog="Example: sessionbridge migrate --to postgresql://bridge@db.lan/bridge")
@click.option(
    "--from",
    "source",
    metavar="WHERE",
    help="Where they are: sqlite: (the home), sqlite:PATH (another one) or postgresql://…, an "
    "address.",
)
@click.option("--to", "target", metavar="WHERE", help="Where they are to be, named the same way.")
@folder_options
@click.pass_obj
def migrate(
    home: Path,
    source: str | None,
    target: str | None,
    config_dir: Path | None,
    config: Path | None,
) -> None:
    """Copy all conversations to PostgreSQL, or back.

    Stop all proxies first. An end that is left out is the home, or the database that
    SESSIONBRIDGE_STORE names. Others may read a command line: leave the password out of an address
    there, and give it as libpq takes it (PGPASSWORD, ~/.pgpass, a service file).

    The database and the transcripts are copied, and the source stays as it is. Where this was
    ended, it goes on when it is run again. A target that holds other conversations is left as it
    is. At the end the rows of the tables are counted, and a sample of the turns and transcripts is
    compared."""
    ours, theirs = _ends(home, source, target)
    claude = config_dirs(config_dir, config)
    with _problems(), closing(ours), closing(theirs):
        if not ours.is_made():
            click.echo(nothing_yet(ours))
            return
        theirs.is_made()  # one that cannot be reached is not waited for
        compared, moved = _migrated(ours, theirs, claude)
    _report(ours, theirs, compared, moved)


def _ends(home: Path, source: str | None, target: str | None) -> tuple[Place, Place]:
    if source is None and target is None:
        raise click.UsageError("Name one end: --to postgresql://… or --from postgresql://…")
    ends = [None if named is None else _end(home, named) for named in (source, target)]
    given = next(end for end in ends if end is not None)
    ours, theirs = (_other(home, given) if end is None else end for end in ends)
    if ours.is_shared == theirs.is_shared:
        raise click.UsageError("One end is to be sqlite:… and the other postgresql://…")
    return ours, theirs


def _end(home: Path, named: str) -> Place:
    if named.startswith(_SQLITE):
        path = Path(named.removeprefix(_SQLITE) or home).expanduser()
        return Home(path.parent if path.name == DATABASE_NAME else path)
    if not named.startswith(SCHEMES):
        # It is not repeated: it may hold a password.
        raise click.UsageError("An end is named as sqlite:, sqlite:PATH or postgresql://…")
    with _problems():
        return place_of(home, named)


def _other(home: Path, given: Place) -> Place:
    address = os.environ.get(VARIABLE, "")
    if given.is_shared:
        return Home(home)
    if not address:
        raise click.UsageError(f"Name the other end, too, or set {VARIABLE}.")
    return _end(home, address)


def _migrated(ours: Place, theirs: Place, claude: ConfigDirs) -> tuple[Compared, Moved]:
    with _opened(ours, claude) as source, _opened(theirs, claude) as target:
        move: Move
        if isinstance(theirs, Home):
            move = ToHome(_folders(theirs, claude))
        else:
            assert isinstance(ours, Home)
            move = ToNodes(_folders(ours, claude), source)

        def copied(db: Database) -> tuple[Compared, Moved, object]:
            # Told here: an engine takes an OSError for one of its own file.
            with _problems():
                return _copied(db, target, move, (ours.name, theirs.name))

        compared, moved, state = source.engine.read(copied)
        move.finish(target)
        if source.engine.read(copying.state) != state:
            raise click.ClickException(
                f"Conversations went on in {ours.name} meanwhile; stop all proxies, and run this "
                "again."
            )
    return compared, moved


def _copied(
    source: Database, target: SessionStore, move: Move, names: tuple[str, str]
) -> tuple[Compared, Moved, object]:
    """With the state of the source that it is a copy of."""
    if others := target.engine.read(lambda there: copying.strangers(source, there)):
        raise click.ClickException(
            f"{names[1]} holds {others} turns, conversations or clients that {names[0]} does not; "
            "nothing was changed. Name a target without them."
        )
    places = move.prepare(source, target)
    copying.copy_turns(source, target.engine, tracked)
    moved = move.transcripts(source, target)
    copying.copy_map(source, target.engine, places, tracked)
    compared = target.engine.read(lambda there: copying.compare(source, there, places))
    return compared, moved, copying.state(source)


@contextmanager
def _opened(place: Place, claude: ConfigDirs) -> Iterator[SessionStore]:
    """A home that has lost its database begins with what is noted beside its transcripts."""
    if isinstance(place, Home):
        beside = _folders(place, claude).noted
        opened = place.store(lambda: beside.folder, PATIENCE, lambda: beside.others)
    else:
        opened = place.store(None, PATIENCE)
    with closing(opened) as store:
        store.wait_at_most(_PATIENCE)
        yield store


def _folders(home: Home, claude: ConfigDirs) -> Folders:
    return Folders(home.database.parent, claude)


def _report(ours: Place, theirs: Place, compared: Compared, moved: Moved) -> None:
    counts = ", ".join(
        f"{name} {there:,} of {here:,}" for name, (here, there) in compared.rows.items()
    )
    click.echo(f"{theirs.name}: rows of {counts}; {moved.count:,} transcripts.")
    different = [*(f"turn {number}" for number in compared.different), *moved.different]
    if different or not compared.are_same:
        named = f" ({', '.join(different[:10])})" if different else ""
        raise click.ClickException(
            f"It is not what {ours.name} holds{named}; stop all proxies, and run this again."
        )
    click.echo(
        f"Compared with {ours.name}: {compared.sample:,} turns with their conversations and points,"
        f" {moved.sample:,} transcripts. All are the same."
    )


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except (StoreUnavailable, OSError) as error:
        raise click.ClickException(str(error)) from error
