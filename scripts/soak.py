"""Keeps conversations going while things go wrong, and says what was lost, doubled or mixed up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tests.support.long_run import conclude, console, options, watched
from tests.support.soak import Soak, State, soak
from tests.support.soak_faults import disk_of_its_own


@click.command()
@options(minutes=30.0, talks=50, every=2.0)
def main(**how: Any) -> None:
    result = watched(on_a_disk, **how)
    conclude(result, {}, places(result))


def on_a_disk(folder: Path, **how: Any) -> Soak:
    with disk_of_its_own(folder) as disk:
        if disk is None:
            console.print("No file system can be mounted here, so no disk is ever full.")
        return soak(folder, disk=disk, **how)


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
