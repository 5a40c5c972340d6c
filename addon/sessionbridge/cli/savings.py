"""`sessionbridge savings`: what the API's cache and the kept Claude processes have saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sessionbridge.claude.prices import cache_rates
from sessionbridge.cli.report_options import chosen_form, print_documents, report_options
from sessionbridge.cli.tables import chosen_place, iso, print_table, read_store
from sessionbridge.sessions.reports.savings import total_savings
from sessionbridge.sessions.reports.sums import money
from sessionbridge.sessions.store.store import By, SavingsRow

_HEADINGS = (
    *("Turns", "Cache read", "Reads saved USD", "Writes extra USD", "Net USD"),
    "Starts avoided",
)


@click.command(epilog="Example: sessionbridge savings --by user --since 30d")
@report_options
@click.pass_obj
def savings(home: Path, by: By, since: float | None, as_json: bool, as_csv: bool) -> None:
    """Show what the cache and kept processes saved.

    Tokens read from the cache cost less than fresh ones and tokens written to it cost more, so what
    counts is the net: what the reads would have cost as fresh input less what they cost, minus what
    the writes cost on top.

    Prices are list prices by genai-prices for the turn's model and day. Turns of a model without a
    price are in no sum: they show as "?", and are counted in unpriced_turns. Writes are
    priced as kept for five minutes or for an hour, as the API told; where it did not, for five
    minutes.

    A start is avoided where a live process or a spare answered. Traffic that only passes through
    counts for the cache, not for starts; "?" are turns that do not say what answered."""
    wanted = chosen_form(as_json=as_json, as_csv=as_csv)
    place = chosen_place(home)
    rows = read_store(
        place, lambda store: store.savings(by, since, cache_rates), quiet=wanted != "table"
    )
    total = total_savings(by, rows)
    if wanted != "table":
        print_documents(wanted, [_document(row) for row in rows], list(_document(total)))
    elif rows:
        headings = [name.capitalize() for name in total.group]
        cells = [(*row.group.values(), *_cells(row)) for row in rows]
        print_table(headings, _HEADINGS, cells, total=_cells(total))


def _cells(row: SavingsRow) -> tuple[str, ...]:
    amounts = (row.reads_saved_usd, row.writes_extra_usd, row.net_usd)
    return (
        f"{row.turns:,}",
        f"{row.usage.cache_read_input_tokens:,}",
        *(money(amount, row.unpriced) for amount in amounts),
        _starts(row),
    )


def _starts(row: SavingsRow) -> str:
    """For example `3 of 4 (75%)`, and `+ 1 ?` where it is not known of one more."""
    share = row.starts_avoided_share
    parts = []
    if share is not None:
        known = row.starts_avoided + row.starts_made
        parts.append(f"{row.starts_avoided:,} of {known:,} ({share:.0%})")
    if row.starts_unknown:
        parts.append(f"{row.starts_unknown:,} ?")
    return " + ".join(parts) or "-"


def _document(row: SavingsRow) -> dict[str, Any]:
    return {
        **row.group,
        "turns": row.turns,
        "cache_read_input_tokens": row.usage.cache_read_input_tokens,
        "cache_creation_input_tokens": row.usage.cache_creation_input_tokens,
        "cache_creation_1h_input_tokens": row.usage.cache_creation_1h_input_tokens,
        "cache_reads_saved_usd": row.reads_saved_usd,
        "cache_writes_extra_usd": row.writes_extra_usd,
        "net_usd": row.net_usd,
        "unpriced_turns": row.unpriced,
        "starts_avoided": row.starts_avoided,
        "starts_made": row.starts_made,
        "starts_unknown": row.starts_unknown,
        "starts_avoided_share": row.starts_avoided_share,
        "first_at": iso(row.first_at),
        "last_at": iso(row.last_at),
    }
