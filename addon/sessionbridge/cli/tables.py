"""What the commands share: opening the store to look into it, and printing what they found."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from sessionbridge.errors import StoreUnavailable
from sessionbridge.model import Usage
from sessionbridge.sessions.reports.sums import money
from sessionbridge.sessions.store.engine import PATIENCE
from sessionbridge.sessions.store.places import VARIABLE, Place, place_of
from sessionbridge.sessions.store.spending import BudgetUse, amount
from sessionbridge.sessions.store.store import CostRow, SessionStore, SessionSummary


def chosen_place(home: Path) -> Place:
    """The database that the environment names, for its password is nobody's to read on a command
    line; else the home."""
    try:
        return place_of(home, os.environ.get(VARIABLE, ""))
    except StoreUnavailable as error:
        raise click.ClickException(error.message) from error


@contextmanager
def opened_store(
    place: Place, transcripts: Callable[[], Path] | None = None
) -> Iterator[SessionStore | None]:
    """None without a database: a command leaves no trace where there was nothing before. The place
    is closed, too, at the end."""
    try:
        with closing(place):
            if not place.is_made():
                yield None
                return
            with closing(place.store(transcripts, PATIENCE)) as store:
                yield store
    except StoreUnavailable as error:
        raise click.ClickException(error.message) from error


def read_store[T](
    place: Place, read: Callable[[SessionStore], Sequence[T]], *, quiet: bool
) -> Sequence[T]:
    """What `read` returns; where that is nothing, people are told why, unless programs read it."""
    with opened_store(place) as store:
        rows = read(store) if store else []
    if not rows and not quiet:
        click.echo(f"Nothing to show in {place.name}." if store else nothing_yet(place))
    return rows


def nothing_yet(place: Place) -> str:
    return (
        f"Nothing here yet: in {place.name} there are no sessions. The first bridged turn begins "
        "them."
    )


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=2))


def print_csv(fields: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """What is unknown is an empty field."""
    writer = csv.DictWriter(sys.stdout, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def console() -> Console:
    """Folds no line where no terminal shows it: a folded id cannot be searched for."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=10_000)


def tracked[T](doing: str, steps: Iterable[T], count: int) -> Iterable[T]:
    """With a bar for people; standard output is for what is reported."""
    bar = Console(stderr=True)
    return track(steps, doing, count, console=bar, disable=not bar.is_terminal)


CLIENT = "Client"

SUM_HEADINGS = ("Turns", "Input", "Output", "Cache write", "Cache read", "Cache hit", "Cost USD")


def print_table(
    names: Sequence[str],
    figures: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
) -> None:
    """`names` and `figures` are headings, those of figures to the right. `total` are the figures of
    a last line. A first column of clients is left out where nobody is one."""
    if names[0] == CLIENT and len(names) > 1 and not any(row[0] for row in rows):
        names, rows = names[1:], [row[1:] for row in rows]
    table = Table()
    for heading in names:
        table.add_column(heading, overflow="fold")
    for heading in figures:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        # As Text, because an id may hold what rich takes for markup.
        table.add_row(*(Text(cell) for cell in row))
    if total is not None:
        table.add_section()
        table.add_row("Total", *[""] * (len(names) - 1), *total)
    console().print(table)


def sum_cells(row: CostRow | SessionSummary) -> tuple[str, ...]:
    """The cost is `-` where there are no turns."""
    usage = row.usage
    counts = (row.turns, usage.input_tokens, usage.output_tokens)
    cache = (written(usage), f"{usage.cache_read_input_tokens:,}")
    hit = "-" if row.usage.cache_hit is None else f"{row.usage.cache_hit:.0%}"
    cost = money(row.cost_usd, row.unpriced)
    return (*(f"{count:,}" for count in counts), *cache, hit, cost if row.turns else "-")


def written(usage: Usage) -> str:
    """The tokens written to the cache, for example `20,000 (18,000 1h)`."""
    hour = usage.cache_creation_1h_input_tokens
    return f"{usage.cache_creation_input_tokens:,}" + (f" ({hour:,} 1h)" if hour else "")


def sums(row: CostRow | SessionSummary) -> dict[str, Any]:
    return {
        "turns": row.turns,
        **asdict(row.usage),
        "cache_hit": row.usage.cache_hit,
        "cost_usd": row.cost_usd,
        "unpriced_turns": row.unpriced,
    }


def bar(share: float) -> str:
    """For example `██████▌···`, ten wide and full from 1.0 on."""
    halves = round(20 * min(max(share, 0.0), 1.0))
    return ("█" * (halves // 2) + "▌" * (halves % 2)).ljust(10, "·")


BUDGET_HEADINGS = (("Budget", ""), ("Used", "Left", "Until"))


def budget_cells(use: BudgetUse) -> tuple[str, ...]:
    """For the columns of `BUDGET_HEADINGS`."""
    limit, used, left = (amount(use.budget, one) for one in (use.limit, use.used, use.left))
    return f"{limit} a {use.budget.per}", bar(use.share), used, left, local(use.until)


def local(seconds: float) -> str:
    """A time as on the reader's own clock."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
