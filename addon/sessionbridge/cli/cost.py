"""`sessionbridge cost`: what the bridged turns used and cost, and how much came from the cache."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import click

from sessionbridge.cli.ages import seconds_in
from sessionbridge.cli.tables import iso, print_json, print_table, read_store, sum_cells, sums
from sessionbridge.sessions.store import By, CostRow


def since_time(value: str) -> float:
    """An age such as `24h`, or a date, in local time unless it names an offset; epoch seconds."""
    if (age := seconds_in(value)) is not None:
        return time.time() - age
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(
            f"{value!r} is neither an age (90m, 24h, 7d, 2w) nor a date (2026-11-01)."
        ) from error


@click.command()
@click.option(
    "--by",
    type=click.Choice(get_args(By)),
    default="platform",
    show_default=True,
    help="What to sum over.",
)
@click.option(
    "--since",
    type=since_time,
    metavar="AGE|DATE",
    help="Only turns that began since then: 24h, 7d, 2026-11-01.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def cost(home: Path, by: By, since: float | None, as_json: bool) -> None:
    """Show tokens, cost and the share of the prompt that was read from the cache."""
    show_costs(home, by, since, as_json=as_json)


def show_costs(
    home: Path, by: By = "platform", since: float | None = None, *, as_json: bool = False
) -> None:
    rows = read_store(home, lambda store: store.costs(by, since), as_json=as_json)
    if as_json:
        print_json([_document(row) for row in rows])
    elif rows:
        headings = [name.capitalize() for name in rows[0].group]
        print_table(headings, [(*row.group.values(), *sum_cells(row)) for row in rows])


def _document(row: CostRow) -> dict[str, Any]:
    return {
        **row.group,
        **sums(row),
        "first_at": iso(row.first_at),
        "last_at": iso(row.last_at),
    }
