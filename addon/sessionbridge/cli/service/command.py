"""`sessionbridge service`: the bridge runs whenever its user does, and ends as it should."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from sessionbridge.claude.cli.environment import secrets_on
from sessionbridge.cli.mitm import confdir_option
from sessionbridge.cli.ordered import OrderedGroup
from sessionbridge.cli.service.managers import Command, Service, launchd, systemd

_PATIENCE = 60
"""Seconds. Stopping waits for the turns under way."""


@click.group(cls=OrderedGroup, epilog="Example: sessionbridge service install --port 8080")
def service() -> None:
    """Run the bridge as a service of this user."""


@service.command(
    context_settings={"ignore_unknown_options": True},
    epilog="Example: sessionbridge service install --set sessionbridge_unkeyed=stateless",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Port of the proxy.",
)
@confdir_option
@click.argument("further", nargs=-1, type=click.UNPROCESSED, metavar="[MITMPROXY OPTIONS]...")
@click.pass_obj
def install(home: Path, port: int, confdir: Path, further: tuple[str, ...]) -> None:
    """Install the service and start it.

    A unit of systemd's for this user, on macOS an agent of launchd's, runs what  sessionbridge run
    --dump  runs, with the same options. One that is there already is replaced."""
    if any("\n" in word for word in further):
        raise click.ClickException("An option holds a line end, which a unit cannot; leave it out.")
    if names := [*secrets_on(further)]:
        raise click.ClickException(
            f"The value of {', '.join(names)} would stand in the unit. Give the name alone, and "
            "the value in the environment of the service, or both in mitmproxy's config.yaml."
        )
    found = _service(home, port, confdir.expanduser(), further)
    before = found.file.read_bytes() if found.file.exists() else None
    found.file.parent.mkdir(parents=True, exist_ok=True)
    found.file.write_bytes(found.text)
    try:
        _run_all(found.begin)
    except click.ClickException:
        _put_back(found.file, before)
        raise
    click.echo(f"Installed and started: {found.file}")
    click.echo(f"Its log: {found.log}")
    click.echo(found.note)


@service.command(epilog="Example: sessionbridge service status")
@click.pass_obj
def status(home: Path) -> None:
    """Say whether the service is installed and runs.

    Ends with 1 where it does not run."""
    found = _service(home)
    if not found.file.exists():
        click.echo(f"Not installed: there is no {found.file}.")
        raise click.exceptions.Exit(1)
    running = _tried(found.state) is None
    click.echo(f"{'Running' if running else 'Not running'}: {found.file}")
    click.echo(f"Its log: {found.log}")
    if not running:
        raise click.exceptions.Exit(1)


@service.command(epilog="Example: sessionbridge service uninstall")
@click.pass_obj
def uninstall(home: Path) -> None:
    """Stop the service and take it away.

    Waits for the turns under way. The sessions and the ledger stay."""
    found = _service(home)
    if not found.file.exists():
        click.echo(f"Not installed: there is no {found.file}.")
        return
    _run_all(found.end)
    found.file.unlink()
    _run_all(found.forget)
    click.echo(f"Stopped and removed: {found.file}")


def _service(
    home: Path, port: int = 0, confdir: Path = Path(), further: Sequence[str] = ()
) -> Service:
    tool = Path(sys.executable).with_name("sessionbridge")
    own = [str(tool), "--home", str(home.absolute()), "run", "--dump", "--port", str(port)]
    command = [*own, "--confdir", str(confdir.absolute()), *further]
    if sys.platform == "darwin":
        return launchd(Path.home(), command, os.getuid())
    return systemd(Path.home(), os.environ, command)


def _run_all(commands: Sequence[Command]) -> None:
    for command in commands:
        if said := _tried(command):
            raise click.ClickException(f"{' '.join(command)}: {said}")


def _tried(command: Command) -> str | None:
    """What went wrong with a command of the service manager's."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except FileNotFoundError:
        return f"there is no {command[0]} here; run the bridge by a service manager that there is."
    except subprocess.TimeoutExpired:
        return f"no answer in {_PATIENCE} s."
    if done.returncode == 0:
        return None
    return (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}."


def _put_back(file: Path, before: bytes | None) -> None:
    if before is None:
        file.unlink()
    else:
        file.write_bytes(before)
