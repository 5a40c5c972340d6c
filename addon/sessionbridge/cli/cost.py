"""`sessionbridge cost`: what the turns used and cost, and how much came from the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sessionbridge.cli.report_options import Form, chosen_form, print_documents, report_options
from sessionbridge.cli.tables import (
    SUM_HEADINGS,
    chosen_place,
    iso,
    print_table,
    read_store,
    sum_cells,
    sums,
)
from sessionbridge.sessions.reports.sums import total_cost
from sessionbridge.sessions.store.places import Place
from sessionbridge.sessions.store.store import By, CostRow


@click.command(epilog="Example: sessionbridge cost --by model --since 7d")
@report_options
@click.pass_obj
def cost(home: Path, by: By, since: float | None, as_json: bool, as_csv: bool) -> None:
    """Show tokens, cost and cache hits.

    Cache hit is the share of the prompt that was read from the cache. The cost is the Claude
    CLI's own figure, in US dollars at list prices; for traffic that passes through it is the list
    price. A turn whose cost nobody told is in no sum: it shows as "?", and is counted in
    unpriced_turns."""
    form = chosen_form(as_json=as_json, as_csv=as_csv)
    show_costs(chosen_place(home), by, since, form)


def show_costs(
    place: Place, by: By = "platform", since: float | None = None, form: Form = "table"
) -> None:
    rows = read_store(place, lambda store: store.costs(by, since), quiet=form != "table")
    total = total_cost(by, rows)
    if form != "table":
        print_documents(form, [_document(row) for row in rows], list(_document(total)))
    elif rows:
        headings = [name.capitalize() for name in total.group]
        cells = [(*row.group.values(), *sum_cells(row)) for row in rows]
        print_table(headings, SUM_HEADINGS, cells, total=sum_cells(total))


def _document(row: CostRow) -> dict[str, Any]:
    return {
        **row.group,
        **sums(row),
        "first_at": iso(row.first_at),
        "last_at": iso(row.last_at),
    }
