"""Takes random walks and says which broke the law. The proxy is restarted in the middle of all; of
several nodes that share a database each request goes to the next."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from tests.support.clients import Clients
from tests.support.nodes import InTurn, running_nodes
from tests.support.postgres import running_postgres
from tests.support.proxy import running_proxy
from tests.support.scripted_api import ScriptedServer
from tests.support.thread_walks import OPTIONS, walk_of
from tests.support.walks import STEPS, Walk, take_walks

console = Console()


@click.command()
@click.argument("number", type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True, help="Of the first walk.")
@click.option("--at-once", default=3, show_default=True, help="Walks at the same time.")
@click.option(
    "--nodes", default=1, show_default=True, help="On PostgreSQL, where there are several."
)
def main(number: int, seed: int, at_once: int, nodes: int) -> None:
    failures: dict[int, BaseException] = {}
    columns = (*Progress.get_default_columns()[:3], MofNCompleteColumn(), TimeElapsedColumn())
    with (
        ScriptedServer() as api,
        tempfile.TemporaryDirectory() as home,
        _halves(Path(home), api, nodes) as halves,
        Progress(*columns, console=console) as progress,
    ):
        walks = [walk_of(n, api) for n in range(seed, seed + number)]
        task = progress.add_task("steps", total=number * STEPS)
        for steps, half in zip((STEPS // 2, STEPS - STEPS // 2), halves, strict=True):
            going = [walk for walk in walks if walk.seed not in failures]
            with half as clients:
                ended = take_walks(
                    going, clients, steps, at_once=at_once, tell=lambda: progress.advance(task)
                )
            for walk, failure in zip(going, ended, strict=True):
                if failure is not None:
                    failures[walk.seed] = failure
                    say_why(progress.console, walk, failure)
    console.print(summary(walks))
    if failures:
        console.print(f"[red]Broken by seeds {', '.join(map(str, sorted(failures)))}.[/red]")
        sys.exit(1)
    console.print(f"{number} walks, and the model saw what the client sent in every turn.")


@contextmanager
def _halves(
    home: Path, api: ScriptedServer, nodes: int
) -> Iterator[Sequence[AbstractContextManager[Clients]]]:
    """Before a restart, and after it."""
    if nodes == 1:
        yield [running_proxy(home, api.url, options=OPTIONS) for _ in range(2)]
        return
    with (
        running_postgres() as server,
        server.database() as store,
        running_nodes(home, api.url, store, count=nodes, reachable=False, **OPTIONS) as running,
        ExitStack() as open_,
    ):

        @contextmanager
        def half() -> Iterator[Clients]:
            yield InTurn(running, open_)
            for node in running:
                node.restart()

        yield [half(), half()]


def say_why(where: Console, walk: Walk, failure: BaseException) -> None:
    notes = "\n".join(getattr(failure, "__notes__", ()))
    where.print(f"{type(failure).__name__}: {failure}\n{notes}", style="red", markup=False)


def summary(walks: list[Walk]) -> Table:
    plans = sum((walk.plans for walk in walks), Counter[str]())
    steps = sum(len(walk.taken) for walk in walks)
    table = Table(title=f"{steps} steps, {plans.total()} turns")
    table.add_column("plan and reason")
    table.add_column("turns", justify="right")
    for plan, turns in plans.most_common():
        table.add_row(plan, str(turns))
    return table


if __name__ == "__main__":
    main()
