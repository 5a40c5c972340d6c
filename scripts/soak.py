"""Keeps conversations going while things go wrong, and says what was lost, doubled or mixed up."""

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

from tests.support.soak import Soak, State, soak
from tests.support.soak_faults import disk_of_its_own

console = Console()


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="How long.")
@click.option("--talks", default=50, show_default=True, help="Conversations.")
@click.option("--at-once", default=6, show_default=True, help="Those that ask at the same time.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two faults.")
@click.option("--seed", default=0, show_default=True, help="Another one, another soak.")
def main(minutes: float, talks: int, at_once: int, every: float, seed: int) -> None:
    logging.disable(logging.CRITICAL)  # the API's, of those who leave in the middle of an answer
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        disk_of_its_own(Path(folder)) as disk,
        Progress(*columns, console=console) as progress,
    ):
        if disk is None:
            console.print("No file system can be mounted here, so no disk is ever full.")
        task = progress.add_task("begun", total=minutes * 60)
        begun = time.monotonic()

        def tell(result: Soak, fault: str) -> None:
            words = f"{result.turns} turns, {len(result.broken)} broken, last: {fault}"
            progress.update(task, completed=time.monotonic() - begun, description=words)

        result = soak(
            Path(folder),
            seconds=minutes * 60,
            talks=talks,
            at_once=at_once,
            every=every,
            seed=seed,
            disk=disk,
            tell=tell,
        )
    console.print(turns(result), faults(result), places(result))
    for name, why in result.broken.items():
        console.print(f"{name}: {why}", style="red", markup=False)
    sys.exit(1 if result.broken else 0)


def turns(result: Soak) -> Table:
    table = Table("", title="Turns")
    table.add_column("", justify="right")
    for name, number in [
        ("done", result.turns),
        ("without an answer", result.unanswered),
        *((kind, result.count(kind)) for kind in ("lost", "doubled", "mixed", "altered")),
    ]:
        table.add_row(name, str(number))
    return table


def faults(result: Soak) -> Table:
    table = Table("fault", title=f"{result.faults.total()} faults")
    table.add_column("times", justify="right")
    for name, number in sorted(result.faults.items()):
        table.add_row(name, str(number))
    return table


def places(result: Soak) -> Table:
    table = Table("at rest", title="What the proxy holds")
    for name in ("start", "end"):
        table.add_column(name, justify="right")
    start, end = result.start, result.end
    assert isinstance(start, State) and isinstance(end, State)
    table.add_row("memory", *(f"{state.memory / 1e6:.0f} MB" for state in (start, end)))
    for name in ("descriptors", "processes", "files"):
        table.add_row(name, *(str(getattr(state, name)) for state in (start, end)))
    return table


if __name__ == "__main__":
    main()
