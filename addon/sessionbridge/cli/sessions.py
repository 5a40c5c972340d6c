"""`sessionbridge sessions`: which conversations are bridged, and to which Claude sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from sessionbridge.cli import housekeeping
from sessionbridge.cli.ages import age
from sessionbridge.cli.backup import refuse_shared
from sessionbridge.cli.housekeeping import Forgotten, House
from sessionbridge.cli.ordered import OrderedGroup
from sessionbridge.cli.session_views import document, title, tree
from sessionbridge.cli.tables import (
    CLIENT,
    SUM_HEADINGS,
    chosen_place,
    console,
    iso,
    local,
    nothing_yet,
    opened_store,
    print_json,
    print_table,
    read_store,
    sum_cells,
    sums,
    tracked,
)
from sessionbridge.cli.transcripts import (
    Folders,
    config_dirs,
    folder_options,
    root_in,
    transcripts_of,
)
from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import SessionKey
from sessionbridge.sessions.store.ledger import key_document
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore, SessionSummary


@click.group(cls=OrderedGroup, epilog="Example: sessionbridge sessions show openclaw/my-first-chat")
def sessions() -> None:
    """The conversations the bridge knows.

    KEY is the id of a conversation or user, PLATFORM/ID where several platforms have that id
    (CLIENT:PLATFORM/ID for one of a client), or a Claude session."""


class _Ambiguous(click.ClickException):
    exit_code = 2


def _json_option[F: Callable[..., Any]](command: F) -> F:
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
    return option(command)


@sessions.command("list", epilog="Example: sessionbridge sessions list --json")
@_json_option
@click.pass_obj
def list_(home: Path, as_json: bool) -> None:
    """List the sessions, with what each has cost.

    The one used last comes first."""
    rows = read_store(chosen_place(home), SessionStore.sessions, quiet=as_json)
    if as_json:
        print_json([_document(row) for row in rows])
    elif rows:
        whose = (CLIENT, "Platform", "Id", "Provider", "Claude session")
        ours = (*whose, "Last plan", "Last used", "Imports")
        cells = [
            (
                *(row.key.client, row.key.platform, row.key.external_id, row.key.provider),
                row.internal_id,
                f"{row.plan} ({row.reason})" if row.plan else "-",
                local(row.last_used_at),
                _imports(row),
                *sum_cells(row),
            )
            for row in rows
        ]
        print_table(ours, SUM_HEADINGS, cells)


@sessions.command(epilog="Example: sessionbridge sessions show my-first-chat")
@click.argument("key")
@_json_option
@click.pass_obj
def show(home: Path, key: str, as_json: bool) -> None:
    """Draw the turns of a conversation.

    Branch by branch, with what each turn used and cost."""
    with _house(home) as house:
        house, found = _find(house, key)
        held, turns = house.store.holdings(found), house.store.turns(found)
        if as_json:
            print_json(document(held, turns, housekeeping.brought_in(house, held)))
        else:
            console().print(tree(held, turns))


@sessions.command(epilog="Example: sessionbridge sessions export my-first-chat > chat.json")
@click.argument("key")
@click.pass_obj
def export(home: Path, key: str) -> None:
    """Print all that is kept of one as JSON.

    That is no text: what was said is in the transcripts it names."""
    with _house(home) as house:
        house, found = _find(house, key)
        held, turns = house.store.holdings(found), house.store.turns(found)
        print_json(document(held, turns, housekeeping.brought_in(house, held)))


@sessions.command(epilog="Example: sessionbridge sessions forget my-first-chat --yes")
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@_json_option
@click.pass_obj
def forget(home: Path, key: str, yes: bool, as_json: bool) -> None:
    """Forget one and delete its transcripts.

    Its turns stay in the ledger. Should it go on, it begins anew."""
    with _house(home) as house:
        house, found = _find(house, key)
        if not yes:
            files = _count(housekeeping.would_forget(house, found).deleted, "transcript")
            click.confirm(f"Forget {title(found)} and delete {files}?", abort=True, err=True)
        forgotten = housekeeping.forget(house, found)
    _report([forgotten] if forgotten else [], as_json=as_json)


@sessions.command(epilog="Example: sessionbridge sessions prune --older-than 30d --dry-run")
@click.option(
    "--older-than", type=age, required=True, metavar="AGE", help="Not used for so long: 30d, 12h."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@_json_option
@click.pass_obj
def prune(home: Path, older_than: int, dry_run: bool, as_json: bool) -> None:
    """Forget all that were not used for a while.

    Does to each what `forget` does to one; stopping it in between leaves none half forgotten."""
    gone: list[Forgotten] = []
    with _house(home) as house:
        if house is None and not as_json:
            click.echo(nothing_yet(chosen_place(home)))
            return
        if house is not None:
            keys = house.store.stale(older_than)
            steps = housekeeping.prune(house, keys, older_than, dry_run=dry_run)
            for done in tracked("Forgetting", steps, len(keys)):
                if done is not None:
                    gone.append(done)
    _report(gone, as_json=as_json, dry_run=dry_run)


@sessions.command(epilog="Example: sessionbridge sessions recover")
@folder_options
@click.pass_obj
def recover(home: Path, config_dir: Path | None, config: Path | None) -> None:
    """Find the conversations again that the database has lost.

    The proxy does so by itself where the database is gone or corrupt. This adds what a database
    lacks that has begun anew: the conversations that are noted beside transcripts, of all providers
    that keep these in one folder of Claude's or are in --config. Those that have gone on since then
    stay as they are."""
    refuse_shared(chosen_place(home), "what it has lost is in a dump of it alone")
    own = Folders(home, config_dirs(config_dir, config))
    try:
        noted = own.noted
        turns = noted.read()
        with closing(SessionStore.open(home / DATABASE_NAME)) as store:
            found = store.recover(tracked("Recovering", turns, len(turns)))
    except (StoreUnavailable, OSError) as error:
        raise click.ClickException(str(error)) from error
    counts = _count(found.turns, "turn"), _count(found.conversations, "conversation")
    click.echo(f"{counts[0]} of {counts[1]} recovered from {noted.folder}.")


def _imports(row: SessionSummary) -> str:
    if not row.recent_turns:
        return "-"
    count = f"{row.imports} of {row.recent_turns}"
    return f"{count}: {row.cause}" if row.cause else count


def _document(row: SessionSummary) -> dict[str, Any]:
    return {
        **key_document(row.key),
        "session": row.internal_id,
        "created_at": iso(row.created_at),
        "last_used_at": iso(row.last_used_at),
        "plan": row.plan,
        "reason": row.reason,
        "recent_turns": row.recent_turns,
        "imports": row.imports,
        "likely_cause": row.cause,
        "metadata": dict(row.metadata),
        **sums(row),
    }


@contextmanager
def _house(home: Path) -> Iterator[House | None]:
    """None without a database."""
    place = chosen_place(home)
    # On SQLite a store with transcripts would bring back what was noted beside them.
    transcripts = (lambda: transcripts_of(home, place=place)[1]) if place.is_shared else None
    with opened_store(place, transcripts) as store:
        yield House(home, place, store, root_in(home, place)) if store else None


def _find(house: House | None, name: str) -> tuple[House, SessionKey]:
    """The one key of that name. Without a store there is none, so whoever has one has both."""
    found = house.store.find(name) if house else []
    if house is None or not found:
        raise click.ClickException(
            f"No conversation is called {name!r}; see `sessionbridge sessions list`."
        )
    if len(found) > 1:
        candidates = "\n".join(f"  {_candidate(house.store, key)}" for key in found)
        raise _Ambiguous(
            f"Several conversations are called {name!r}; name one as PLATFORM/ID (or "
            f"CLIENT:PLATFORM/ID) or by its Claude session:\n{candidates}"
        )
    return house, found[0]


def _candidate(store: SessionStore, key: SessionKey) -> str:
    held = store.holdings(key)
    session = held.row.session_id if held.row else held.sessions[-1] if held.sessions else "-"
    return f"{title(key)}, session {session}"


def _report(gone: list[Forgotten], *, as_json: bool, dry_run: bool = False) -> None:
    deleted = sum(one.deleted for one in gone)
    failed = [path for one in gone for path in one.failed]
    if as_json:
        print_json([_forgotten(one, deleted=not dry_run) for one in gone])
    else:
        for one in gone:
            click.echo(title(one.held.key))
        verb = "Would forget" if dry_run else "Forgot"
        counts = _count(len(gone), "conversation"), _count(deleted, "transcript")
        click.echo(f"{verb} {counts[0]} and {'delete' if dry_run else 'deleted'} {counts[1]}.")
    if failed:
        raise click.ClickException(
            f"{_count(len(failed), 'transcript')} could not be deleted: "
            + ", ".join(str(path) for path in failed)
        )


def _forgotten(one: Forgotten, *, deleted: bool) -> dict[str, Any]:
    return {
        **key_document(one.held.key),
        "sessions": list(one.held.sessions),
        "deleted": deleted,
        "transcripts": [str(path) for path in one.transcripts],
        "failed": [str(path) for path in one.failed],
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
