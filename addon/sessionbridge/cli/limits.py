"""`sessionbridge limits`: how much of the plans of Claude logins is used."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from sessionbridge.cli.tables import (
    bar,
    chosen_place,
    iso,
    local,
    print_json,
    print_table,
    read_store,
)
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.store.store import SessionStore

_HEADINGS = ("Used", "An hour", "Full at", "Resets at", "Told at")


@click.command(epilog="Example: sessionbridge limits --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def limits(home: Path, as_json: bool) -> None:
    """Show how much of each Claude plan is used.

    The windows of a login (5 hours, 7 days), as the API told of them with the newest turn: the
    share that is used, how much of it an hour on average, when it would be full at that rate, and
    when it resets. Of one that has reset since then nothing is known until the next turn, and by
    key there is none."""
    rows = read_store(chosen_place(home), SessionStore.plan_windows, quiet=as_json)
    now = time.time()
    if as_json:
        print_json([_document(row, now) for row in rows])
    elif rows:
        print_table(("Provider", "Window", ""), _HEADINGS, [_cells(row, now) for row in rows])


def _cells(window: PlanWindow, now: float) -> tuple[str, ...]:
    which = window.provider, window.name
    if not window.is_open(now):
        return *which, "", "it has reset", "-", "-", "-", local(window.told_at)
    return (
        *which,
        "" if window.used is None else bar(window.used),
        _share(window.used),
        _share(window.used_per_hour, digits=1),
        _moment(window.full_at),
        _moment(window.resets_at),
        local(window.told_at),
    )


def _share(share: float | None, digits: int = 0) -> str:
    return "-" if share is None else f"{share:.{digits}%}"


def _moment(at: float | None) -> str:
    return "-" if at is None else local(at)


def _document(window: PlanWindow, now: float) -> dict[str, Any]:
    told = window.document(now)
    times = ("resets_at", "full_at", "told_at")
    return told | {name: told[name] and iso(told[name]) for name in times}
