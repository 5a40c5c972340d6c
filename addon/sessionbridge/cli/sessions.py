"""`sessionbridge sessions`: which conversations are bridged, and to which Claude sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store import DATABASE_NAME, CostRow, SessionStore, SessionSummary


@click.group()
def sessions() -> None:
    """The conversations the bridge knows."""


@sessions.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def list_(home: Path, as_json: bool) -> None:
    """List the sessions, the one used last first, with what each has cost."""
    rows = read_store(home, SessionStore.sessions, as_json=as_json)
    if as_json:
        print_json([_document(row) for row in rows])
    elif rows:
        headings = ("Platform", "Id", "Provider", "Claude session", "Last plan", "Last used")
        cells = [
            (
                *(row.key.scope, row.key.external_id, row.key.provider, row.internal_id),
                f"{row.plan} ({row.reason})" if row.plan else "-",
                datetime.fromtimestamp(row.last_used_at).strftime("%Y-%m-%d %H:%M"),
                *sum_cells(row),
            )
            for row in rows
        ]
        print_table(headings, cells)


def _document(row: SessionSummary) -> dict[str, Any]:
    return {
        "platform": row.key.scope,
        "external_id": row.key.external_id,
        "provider": row.key.provider,
        "session": row.internal_id,
        "created_at": iso(row.created_at),
        "last_used_at": iso(row.last_used_at),
        "plan": row.plan,
        "reason": row.reason,
        "metadata": dict(row.metadata),
        **sums(row),
    }


# -- shared with the other reading commands -------------------------------------------------------


def read_store[T](
    home: Path, read: Callable[[SessionStore], Sequence[T]], *, as_json: bool
) -> Sequence[T]:
    """What `read` returns. Looking must leave no trace: without a database nothing is made."""
    path = home / DATABASE_NAME
    if not path.exists():
        if not as_json:
            click.echo(f"Nothing here yet: {path} does not exist. The first bridged turn makes it.")
        return []
    try:
        with closing(SessionStore.open(path)) as store:
            rows = read(store)
    except StoreUnavailable as error:
        raise click.ClickException(error.message) from error
    if not rows and not as_json:
        click.echo(f"Nothing to show in {path}.")
    return rows


def print_json(rows: list[dict[str, Any]]) -> None:
    click.echo(json.dumps(rows, indent=2))


# Nothing to fold lines for where no terminal shows them; a folded id cannot be searched for.
_UNBOUNDED = 10_000

SUM_HEADINGS = ("Turns", "Input", "Output", "Cache write", "Cache read", "Cache hit", "Cost USD")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """`headings` name the first columns; those of `sum_cells` follow."""
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for heading in SUM_HEADINGS:
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        # As Text, because an id may hold what rich takes for markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_UNBOUNDED)
    console.print(table)


def sum_cells(row: CostRow | SessionSummary) -> tuple[str, ...]:
    """The cost is `?` where no turn reported one, and ends in `+ ?` where some did not."""
    counts = (
        *(row.turns, row.usage.input_tokens, row.usage.output_tokens),
        *(row.usage.cache_creation_input_tokens, row.usage.cache_read_input_tokens),
    )
    hit = "-" if row.cache_hit is None else f"{row.cache_hit:.0%}"
    cost = "?" if row.cost_usd is None else f"{row.cost_usd:.4f}"
    if row.unpriced and row.cost_usd is not None:
        cost += " + ?"
    return (*(f"{count:,}" for count in counts), hit, cost if row.turns else "-")


def sums(row: CostRow | SessionSummary) -> dict[str, Any]:
    return {
        "turns": row.turns,
        "input_tokens": row.usage.input_tokens,
        "output_tokens": row.usage.output_tokens,
        "cache_creation_input_tokens": row.usage.cache_creation_input_tokens,
        "cache_read_input_tokens": row.usage.cache_read_input_tokens,
        "cache_hit": row.cache_hit,
        "cost_usd": row.cost_usd,
        "unpriced_turns": row.unpriced,
    }


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
