"""Runs the benchmarks and prints each figure beside what it must reach."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.benchmarks import (
    clients,
    hostile,
    kept,
    latency,
    load,
    nodes,
    page,
    postgres,
    process_memory,
    program_starts,
    settings,
    store,
    websocket,
)
from scripts.benchmarks.figures import Benchmark, Figure, Measured, Options
from scripts.benchmarks.machine import machine

progress = Console(stderr=True, highlight=False)


BENCHMARKS: dict[str, Benchmark] = (
    latency.BENCHMARKS
    | websocket.BENCHMARKS
    | kept.BENCHMARKS
    | settings.BENCHMARKS
    | clients.BENCHMARKS
    | process_memory.BENCHMARKS
    | program_starts.BENCHMARKS
    | load.BENCHMARKS
    | hostile.BENCHMARKS
    | store.BENCHMARKS
    | postgres.BENCHMARKS
    | nodes.BENCHMARKS
)
"""All by name, in the order they run."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the machine.")
@click.option("--only", multiple=True, metavar="NAME", help="Run this one; may be repeated.")
@click.option("--rounds", type=click.IntRange(min=1), help="Of each benchmark that has rounds.")
@click.option(
    "--before",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="A checkout of an earlier version, to be measured beside this one where that is possible.",
)
@click.option("--keep", is_flag=True, help="Keep the result in docs/speed.md.")
@click.option("--list", "list_names", is_flag=True, help="Print the names and stop.")
def main(
    as_json: bool,
    only: tuple[str, ...],
    rounds: int | None,
    before: Path | None,
    keep: bool,
    list_names: bool,
) -> None:
    """Measures what the bridge costs. Ends with 1 where a figure is missed."""
    if list_names:
        click.echo("\n".join(BENCHMARKS))
        return
    if strange := set(only) - set(BENCHMARKS):
        names = ", ".join(BENCHMARKS)
        raise click.BadParameter(f"no {', '.join(sorted(strange))}; there are {names}")
    chosen = {name: run for name, run in BENCHMARKS.items() if not only or name in only}
    here = machine()  # with the load it began with, not its own
    figures = list(measure(chosen, rounds, before))
    if as_json:
        shown = {"machine": here, "figures": [asdict(figure) for figure in figures]}
        click.echo(json.dumps(shown, indent=2))
    else:
        Console().print(table(figures, here))
    if keep:
        page.write(figures, here)
    sys.exit(not all(figure.reached for figure in figures))


def measure(
    chosen: Mapping[str, Benchmark], rounds: int | None, before: Path | None
) -> Iterator[Figure]:
    """One that fails is a figure missed, so that the others are not lost with it."""
    for name, run in chosen.items():
        try:
            for figure in run(Options(rounds, before, _teller(name))):
                progress.print(f"{figure.name}: {'ok' if figure.reached else 'missed'}")
                yield figure
        except Exception as error:
            progress.print("".join(traceback.format_exception(error)), style="red", markup=False)
            yield Figure(name, f"{type(error).__name__}: {error}", "to be measured", False)


def _teller(name: str) -> Callable[[str], None]:
    return lambda text: progress.print(f"{name}: {text}", style="dim", markup=False)


def table(figures: Sequence[Figure], machine: Mapping[str, object]) -> Table:
    shown = Table(
        show_lines=True, caption=", ".join(f"{name} {value}" for name, value in machine.items())
    )
    for column in ("figure", "measured", "must reach", ""):
        shown.add_column(column)
    for figure in figures:
        verdict = "[green]ok[/green]" if figure.reached else "[red]missed[/red]"
        notes = "".join(f"\n[dim]{escape(note)}[/dim]" for note in figure.notes)
        shown.add_row(figure.name, escape(in_words(figure.measured)) + notes, figure.limit, verdict)
    return shown


def in_words(measured: Measured) -> str:
    if isinstance(measured, str):
        return measured
    return "\n".join(f"{name} {value:,.6g}" for name, value in measured.items())


if __name__ == "__main__":
    main()
