"""The `sessionbridge` command. Arguments and printing only; each subcommand has its own file."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import click

from sessionbridge.cli.ordered import LazyGroup

_PLACES = {
    "run": "sessionbridge.cli.run:run",
    "exec": "sessionbridge.cli.exec.command:exec_program",
    "setup": "sessionbridge.cli.setup.command:setup",
    "service": "sessionbridge.cli.service.command:service",
    "demo": "sessionbridge.cli.demo.command:demo",
    "doctor": "sessionbridge.cli.doctor:doctor",
    "sessions": "sessionbridge.cli.sessions:sessions",
    "clients": "sessionbridge.cli.clients:clients",
    "cost": "sessionbridge.cli.cost:cost",
    "savings": "sessionbridge.cli.savings:savings",
    "limits": "sessionbridge.cli.limits:limits",
    "backup": "sessionbridge.cli.backup:backup",
    "restore": "sessionbridge.cli.backup:restore",
    "migrate": "sessionbridge.cli.migrate:migrate",
}


@click.group(
    cls=LazyGroup,
    places=_PLACES,
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
