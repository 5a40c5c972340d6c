"""What `scripts/soak` and `scripts/nodes` have in common: conversations that go on for minutes
while things go wrong, and a person who watches.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

console = Console()

KINDS = ("lost", "doubled", "mixed", "altered")
"""The words with which the sentences of what is broken begin."""


@dataclass
class Outcome:
    """`broken` are the sentences of what must not be, by talk; each talk ends with its first.
    `statuses` are those of what was refused."""

    turns: int = 0
    unanswered: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def count(self, kind: str) -> int:
        return sum(why.startswith(kind) for why in self.broken.values())


def options[F: Callable[..., Any]](*, minutes: float, talks: int, every: float) -> Callable[[F], F]:
    """Of a command, with these defaults."""
    given = (
        click.option("--minutes", default=minutes, show_default=True, help="How long."),
        click.option("--talks", default=talks, show_default=True, help="Conversations."),
        click.option("--at-once", default=6, show_default=True, help="Those that ask at once."),
        click.option("--every", default=every, show_default=True, help="Seconds between faults."),
        click.option("--seed", default=0, show_default=True, help="Another one, another run."),
    )

    def with_options(command: F) -> F:
        for option in reversed(given):
            command = option(command)
        return command

    return with_options


def watched[O: Outcome](run: Callable[..., O], minutes: float, **how: Any) -> O:
    """What `run` returns, with a bar while it runs. It is given a folder, `seconds`, and `tell`, to
    be told the outcome so far and what has gone wrong now, if anything has."""
    logging.disable(logging.CRITICAL)  # the API's, of answers that are broken off
    columns = (*Progress.get_default_columns()[:3], TimeElapsedColumn())
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        task = progress.add_task("begun", total=minutes * 60)
        begun = time.monotonic()
        last = "nothing yet"

        def tell(outcome: O, fault: str) -> None:
            nonlocal last
            last = fault or last
            words = f"{outcome.turns} turns, {len(outcome.broken)} broken, last: {last}"
            progress.update(task, completed=time.monotonic() - begun, description=words)

        return run(Path(folder), seconds=minutes * 60, tell=tell, **how)


def conclude(outcome: Outcome, figures: Mapping[str, int], *tables: Table) -> NoReturn:
    """Says what came of it, with more `figures` and `tables`; ends with 1 where anything broke."""
    refused = {f"refused with {name}": n for name, n in sorted(outcome.statuses.items())}
    kinds = {kind: outcome.count(kind) for kind in KINDS}
    answered = {"answered": outcome.turns, "without an answer": outcome.unanswered}
    console.print(_table("Turns", {**answered, **figures, **refused, **kinds}))
    faults = dict(sorted(outcome.faults.items()))
    console.print(_table(f"{outcome.faults.total()} faults", faults), *tables)
    for name, why in outcome.broken.items():
        console.print(f"{name}: {why}", style="red", markup=False)
    sys.exit(1 if outcome.broken else 0)


def _table(title: str, numbers: Mapping[str, int]) -> Table:
    table = Table("", title=title)
    table.add_column("", justify="right")
    for name, number in numbers.items():
        table.add_row(name, str(number))
    return table
