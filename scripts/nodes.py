"""Keeps conversations going over two nodes behind HAProxy while these are killed and PostgreSQL is
restarted, with the real CLI, and says what was lost, doubled or mixed up."""

from __future__ import annotations

from typing import Any

import click

from tests.support.long_run import conclude, options, watched
from tests.support.node_soak import node_soak


@click.command()
@options(minutes=10.0, talks=24, every=20.0)
def main(**how: Any) -> None:
    result = watched(node_soak, **how)
    conclude(result, {"in the ledger": result.in_ledger})


if __name__ == "__main__":
    main()
