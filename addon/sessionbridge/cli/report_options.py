"""What the reports on money share: their options, and printing them as a table, JSON or CSV."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_args

import click

from sessionbridge.cli.ages import seconds_in
from sessionbridge.cli.tables import print_csv, print_json
from sessionbridge.sessions.store.store import By

Form = Literal["table", "json", "csv"]


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


def report_options[F: Callable[..., Any]](command: F) -> F:
    """`--by`, `--since`, `--json` and `--csv`, as `by`, `since`, `as_json` and `as_csv`."""
    options = (
        click.option(
            "--by",
            type=click.Choice(get_args(By)),
            default="platform",
            show_default=True,
            help="What to sum over; days are those of this machine's clock.",
        ),
        click.option(
            "--since",
            type=since_time,
            metavar="AGE|DATE",
            help="Only turns that began since then: 24h, 7d, 2026-11-01.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV with the fields of --json."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def chosen_form(*, as_json: bool, as_csv: bool) -> Form:
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other; name one of them.")
    return "json" if as_json else "csv" if as_csv else "table"


def print_documents(
    form: Literal["json", "csv"], documents: Sequence[Mapping[str, Any]], fields: Sequence[str]
) -> None:
    """`fields` are the header of a CSV, which has one also where there are no rows."""
    if form == "json":
        print_json(documents)
    else:
        print_csv(fields, documents)
