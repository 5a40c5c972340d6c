"""`sessionbridge doctor`: is everything in order, and what to do where it is not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from sessionbridge.claude.profile import config_dir
from sessionbridge.cli import backup_file
from sessionbridge.cli.checks.claude_settings import check_settings
from sessionbridge.cli.checks.database import check_backup, check_database
from sessionbridge.cli.checks.finding import Finding
from sessionbridge.cli.checks.live import TOKEN, check_live
from sessionbridge.cli.checks.mitmproxy_config import check_config, claude_env
from sessionbridge.cli.checks.network import check_ca, check_port
from sessionbridge.cli.checks.programs import (
    check_addon,
    check_claude,
    check_mitmproxy,
    check_python,
    check_turn_settings,
)
from sessionbridge.cli.checks.providers import check_providers
from sessionbridge.cli.checks.shared_database import check_shared_database, clients_in
from sessionbridge.cli.mitm import CA_NAME, confdir_option
from sessionbridge.cli.tables import console, print_json
from sessionbridge.sessions.store.places import DATABASE_NAME, VARIABLE
from sessionbridge.sessions.store.sqlite.health import examine

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@click.command(epilog="Example: sessionbridge doctor --port 8081")
@click.option(
    "--claude",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The Claude CLI, where the proxy gets sessionbridge_claude (default: the SDK's own).",
)
@confdir_option
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="The port the proxy is to have.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The proxy's sessionbridge_config: its providers are checked, too.",
)
@click.option(
    "--live",
    type=click.IntRange(1, 2),
    is_flag=False,
    flag_value=1,
    metavar="[TURNS]",
    help="Make a real turn through the proxy too; 2 show that it remembers. They cost money. A "
    f"client's token is taken from {TOKEN}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def doctor(
    home: Path,
    claude: Path | None,
    confdir: Path,
    port: int,
    config: Path | None,
    live: int | None,
    as_json: bool,
) -> None:
    """Check that everything is in order.

    Says what to do where it is not. Looks at Python, mitmproxy, the addon, the Claude CLI, its
    login and whether it takes other settings while it runs, the accounts that --config names, the
    proxy's CA and port, what
    mitmproxy's configuration file opens, what could send Claude's own calls back into the proxy,
    how long Claude keeps transcripts, the session database and its last backup, or the database
    that SESSIONBRIDGE_STORE names and how many connections it has left. Changes nothing and
    calls no model, unless --live has the proxy that runs do so, and says what that cost. Ends with
    1 where there is a problem."""
    confdir = confdir.expanduser()
    findings = _findings(home, claude, confdir, port, config)
    if live is not None:
        findings += check_live(port, confdir / CA_NAME, live, os.environ.get(TOKEN, "").strip())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.status == "problem" for finding in findings):
        raise click.exceptions.Exit(1)


def _findings(
    home: Path, claude: Path | None, confdir: Path, port: int, config: Path | None
) -> list[Finding]:
    environment = dict(os.environ)
    address = environment.get(VARIABLE, "")
    health = None if address else examine(home / DATABASE_NAME)
    if address:
        clients = clients_in(home, address) if config else None
    else:
        clients = () if health is None else None if health.faults else health.clients
    cli = claude.expanduser().absolute() if claude else None
    given = claude_env(confdir)
    claude_found = check_claude(cli, environment, given)
    if claude_found[0].status == "ok":
        claude_found.append(check_turn_settings(cli, environment))
    return [
        check_python(),
        check_mitmproxy(Path(sys.executable).parent),
        check_addon(Path(sys.executable), environment),
        *claude_found,
        *(check_providers(config, cli, given, environment, clients) if config else []),
        check_ca(confdir / CA_NAME, environment),
        check_port(port),
        *check_config(confdir),
        *check_settings(config_dir(environment), environment, health),
        *(
            [check_shared_database(home, address)]
            if address
            else [
                check_database(home / DATABASE_NAME, health),
                check_backup(backup_file.last(home), time.time()),
            ]
        ),
    ]


def _print(findings: Sequence[Finding]) -> None:
    table = Table()
    for heading in ("Check", "Status", "Found, and what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        status = Text(finding.status, style=_COLOURS[finding.status])
        advice = f"\n→ {finding.advice}" if finding.advice else ""
        table.add_row(finding.check, status, Text(finding.found + advice))
    console().print(table)
