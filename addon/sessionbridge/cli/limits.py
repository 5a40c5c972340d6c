"""`sessionbridge limits`: how much of the plans of Claude logins is used, and of budgets."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sessionbridge.allowances import Allowance
from sessionbridge.cli.tables import (
    BUDGET_HEADINGS,
    bar,
    budget_cells,
    chosen_place,
    iso,
    local,
    print_json,
    print_table,
    read_store,
)
from sessionbridge.config import load
from sessionbridge.plan_windows import PlanWindow
from sessionbridge.sessions.reports.budgets import NamedBudget
from sessionbridge.sessions.reports.spending import budget_document
from sessionbridge.sessions.store.store import SessionStore

_HEADINGS = ("Used", "An hour", "Full at", "Resets at", "Told at")


@click.command(epilog="Example: sessionbridge limits --config sessionbridge.toml")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The proxy's sessionbridge_config: the budgets of its providers are shown, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.pass_obj
def limits(home: Path, config: Path | None, as_json: bool) -> None:
    """Show how much of each Claude plan and budget is used.

    The windows of a login (5 hours, 7 days), as the API told of them with the newest turn: the
    share that is used, how much of it an hour on average, when it would be full at that rate, and
    when it resets. Of one that has reset since then nothing is known until the next turn, and by
    key there is none. Then the budgets of clients, and of the providers that --config names."""
    providers = _providers(config) if config else {}
    found = read_store(chosen_place(home), lambda store: _limits(store, providers), quiet=as_json)
    windows = [one for one in found if isinstance(one, PlanWindow)]
    budgets = [one for one in found if isinstance(one, NamedBudget)]
    now = time.time()
    if as_json:
        told = {"plan_windows": [_document(one, now) for one in windows]}
        print_json({**told, "budgets": [_budget_document(one) for one in budgets]})
        return
    if windows:
        print_table(("Provider", "Window", ""), _HEADINGS, [_cells(one, now) for one in windows])
    if budgets:
        rows = [(one.whose, one.name, *budget_cells(one)) for one in budgets]
        names, figures = BUDGET_HEADINGS
        print_table(("Of", "Name", *names), figures, rows)


def _providers(config: Path) -> Mapping[str, Allowance]:
    try:
        return load({"sessionbridge_config": str(config)}, os.environ).providers
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _limits(
    store: SessionStore, providers: Mapping[str, Allowance]
) -> Sequence[PlanWindow | NamedBudget]:
    return [*store.plan_windows(), *store.budgets(providers)]


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


def _budget_document(one: NamedBudget) -> dict[str, Any]:
    return {"of": one.whose, "name": one.name, **budget_document(one)}
