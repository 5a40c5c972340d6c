"""`sessionbridge exec`: runs a program through the bridge without changing it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from sessionbridge.cli.exec import program
from sessionbridge.cli.exec.own_proxy import guarded
from sessionbridge.cli.exec.variables import kept_from_proxy
from sessionbridge.cli.exec.ways import Wanted, Way, to_own, to_running
from sessionbridge.cli.mitm import confdir_option
from sessionbridge.cli.running_bridge import NoBridge, totals
from sessionbridge.program_runs import NOBODY
from sessionbridge.sessions.origins.request import NO_PATH_NAMES, UNSET
from sessionbridge.sessions.reports.sums import money

_NO_NAMES = {"", NOBODY, *(name.lower() for name in UNSET), *NO_PATH_NAMES}
"""What the proxy takes for no name, in the one way or the other."""


def _name(context: click.Context, option: click.Parameter, name: str | None) -> str | None:
    if name is None:
        return None
    if name.strip().lower() in _NO_NAMES or ":" in name or not name.isprintable():
        # A colon would end the user in the proxy's address (RFC 7617, 2).
        raise click.BadParameter(
            f"{name!r} cannot name a conversation; use another, printable and without a colon."
        )
    return name


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: sessionbridge exec --session my-chat -- python bot.py",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Use the bridge that runs at this port instead of starting one.",
)
@click.option(
    "--session",
    callback=_name,
    metavar="NAME",
    help="The conversation of all requests that name none.",
)
@click.option(
    "--base-url",
    is_flag=True,
    help="Set ANTHROPIC_BASE_URL and OPENAI_BASE_URL too, for programs that use no proxy.",
)
@click.option(
    "--print-env",
    is_flag=True,
    help="Print the variables for a shell and run nothing; needs --port.",
)
@confdir_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARG]...")
@click.pass_obj
def exec_program(
    home: Path,
    port: int | None,
    session: str | None,
    base_url: bool,
    print_env: bool,
    confdir: Path,
    command: tuple[str, ...],
) -> None:
    """Run a program through the bridge.

    Starts a proxy for it, or uses the one that runs at --port, and sets the environment variables
    that lead the program there and let it trust the proxy. The program itself is not changed.
    Signals, terminal and exit status are the program's. At the end a line on standard error says
    what it used."""
    wanted = Wanted(home, confdir.expanduser(), session, base_url)
    try:
        if print_env:
            _print_env(port, command, wanted)
            return
        status = _run(port, command, wanted)
    except (NoBridge, OSError) as error:
        raise click.ClickException(str(error)) from error
    except program.CannotRun as error:
        click.echo(f"Error: {error}", err=True)
        status = error.status
    raise click.exceptions.Exit(status)


def _print_env(port: int | None, command: tuple[str, ...], wanted: Wanted) -> None:
    if port is None or command:
        raise click.UsageError("--print-env needs --port and no program: it starts nothing.")
    for name, value in to_running(port, wanted).variables.items():
        quoted = value.replace("'", "'\\''")
        click.echo(f"export {name}='{quoted}'")


def _run(port: int | None, command: tuple[str, ...], wanted: Wanted) -> int:
    """The program's exit status. Raises `NoBridge` and `CannotRun`."""
    if not command:
        raise click.UsageError("Name the program to run, after  --  where it has options.")
    program.find(command[0])  # before a proxy is started for it
    with to_own(wanted) if port is None else nullcontext(to_running(port, wanted)) as way:
        if kept := not wanted.base_url and kept_from_proxy(os.environ):
            _say(f"NO_PROXY keeps {' and '.join(kept)} from the bridge.")
        variables = {**os.environ, **way.variables}
        with program.running(command, variables) as process, guarded(process.pid):
            status = program.wait(process)
            _say(_used(way))
    return status


def _say(words: str) -> None:
    click.echo(f"sessionbridge: {words}", err=True)


def _used(way: Way) -> str:
    if not way.alone and way.run is None:
        return "what this used is in  sessionbridge cost ; at a base URL it cannot be told apart."
    told = totals(way.port, way.mode, way.run)
    return "what this used is not known: the proxy does not answer." if told is None else used(told)


def used(told: Mapping[str, Any]) -> str:
    """For example `2 turns, tokens in 6 out 16 cache 336+112, $0.0010`; cache is read + written."""
    failed = f", {told['failed']} failed" if told["failed"] else ""
    if not told["turns"]:
        return f"no turns{failed}."
    turns = "1 turn" if told["turns"] == 1 else f"{told['turns']} turns"
    cache = f"{told['cache_read_input_tokens']}+{told['cache_creation_input_tokens']}"
    tokens = f"tokens in {told['input_tokens']} out {told['output_tokens']} cache {cache}"
    cost = money(told["cost_usd"], told["unpriced_turns"])
    return f"{turns}{failed}, {tokens}, ${cost}"
