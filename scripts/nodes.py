"""Keeps conversations going over two nodes behind HAProxy while these are killed and PostgreSQL is
restarted, with the real CLI, and says what was lost, doubled or mixed up."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from tests.support.node_soak import NodeSoak, node_soak

console = Console()


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@click.option(
    "--talks", default=24, show_default=True, help="Conversations, half of them with tools."
)
@click.option("--at-once", default=6, show_default=True, help="Those that ask at the same time.")
@click.option("--every", default=20.0, show_default=True, help="Seconds between two kills.")
@click.option("--seed", default=0, show_default=True, help="Another one, another run.")
def main(minutes: float, talks: int, at_once: int, every: float, seed: int) -> None:
    logging.disable(logging.CRITICAL)  # the API's, of nodes that are killed in mid-answer
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        task = progress.add_task("begun", total=minutes * 60)
        begun = time.monotonic()

        def tell(result: NodeSoak, fault: str) -> None:
            if fault:
                result.faults[fault] += 1
            words = f"{result.turns} turns, {len(result.broken)} broken"
            progress.update(task, completed=time.monotonic() - begun, description=words)

        result = node_soak(
            Path(folder),
            seconds=minutes * 60,
            talks=talks,
            at_once=at_once,
            every=every,
            seed=seed,
            tell=tell,
        )
    console.print(turns(result))
    for name, why in result.broken.items():
        console.print(f"{name}: {why}", style="red", markup=False)
    sys.exit(1 if result.broken else 0)


def turns(result: NodeSoak) -> Table:
    table = Table("", title="Turns")
    table.add_column("", justify="right")
    for name, number in [
        ("answered", result.turns),
        ("without an answer", result.unanswered),
        ("in the ledger", result.in_ledger),
        *((f"refused with {status}", number) for status, number in sorted(result.statuses.items())),
        *sorted(result.faults.items()),
        *((kind, result.count(kind)) for kind in ("lost", "doubled", "mixed", "altered")),
    ]:
        table.add_row(name, str(number))
    return table


if __name__ == "__main__":
    main()
