"""The `sessionbridge` command. Arguments and printing only; each subcommand has its own file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from sessionbridge.cli.backup import backup, restore
from sessionbridge.cli.cost import cost
from sessionbridge.cli.demo.command import demo
from sessionbridge.cli.doctor import doctor
from sessionbridge.cli.ordered import OrderedGroup
from sessionbridge.cli.run import run
from sessionbridge.cli.savings import savings
from sessionbridge.cli.sessions import sessions


@click.group(
    cls=OrderedGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: sessionbridge --home /srv/bridge sessions list",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SESSIONBRIDGE_HOME",
    default=Path("~/.sessionbridge"),
    show_default=True,
    show_envvar=True,
    help="Where the bridge keeps its sessions and its ledger.",
)
@click.version_option(version("mitmproxy-sessionbridge"), prog_name="sessionbridge")
@click.pass_context
def cli(context: click.Context, home: Path) -> None:
    """Claude sessions for programs that speak a stateless LLM API."""
    context.obj = home.expanduser()


for command in (run, demo, doctor, sessions, cost, savings, backup, restore):
    cli.add_command(command)
