"""`sessionbridge setup`: a program's own configuration is changed so that it asks the bridge."""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path

import click

from sessionbridge.cli.mitm import HOST
from sessionbridge.cli.running_bridge import NoBridge, mode_at
from sessionbridge.cli.setup.programs import PROGRAMS, Program

_FOLDER = "setup"


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file as it was before the first change, None where there was none, and after the last one.
    `edited` tells whether somebody else has changed it in between."""

    file: str
    before: str | None
    after: str
    edited: bool = False


@click.command(epilog="Example: sessionbridge setup codex --port 8080")
@click.argument("name", type=click.Choice(list(PROGRAMS)))
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="The port of the bridge in reverse mode.",
)
@click.option("--undo", is_flag=True, help="Put the file back as it was before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def setup(home: Path, name: str, port: int, undo: bool, yes: bool) -> None:
    """Let a program ask the bridge.

    Shows the change to the program's own configuration, asks, and makes it. Nothing else in the
    file is touched, and a copy is kept for --undo."""
    program = PROGRAMS[name]
    kept = home / _FOLDER / f"{name}.json"
    try:
        if undo:
            _undo(kept, name, yes)
        elif _change(program, kept, f"http://{HOST}:{port}", yes):
            if program.then:
                click.echo(program.then)
            _tell_of(port)
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error


def _change(program: Program, kept: Path, address: str, yes: bool) -> bool:
    places = program.places(Path.home(), os.environ)
    file = next((place for place in places if place.exists()), places[0])
    before = _read(file)
    try:
        after = program.set(before or "", program.values(address))
    except ValueError as error:
        raise click.ClickException(f"{file} is left as it is: {error}.") from error
    if before and before.count("\r\n") == before.count("\n"):
        after = after.replace("\r\n", "\n").replace("\n", "\r\n")
    if after == before:
        click.echo(f"Nothing to change: {file} has it all.")
        return True
    if not _agreed(file, before or "", after, yes):
        return False
    if (copy := _copy(kept)) is None:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy = _Copy(str(file), before, after)
    elif before != copy.after:
        copy = replace(copy, edited=True)
    # That of a change before this one is older, and stays.
    _write(kept, json.dumps(asdict(replace(copy, after=after))), private=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, after)
    click.echo(f"Changed: {file} (undo: sessionbridge setup {kept.stem} --undo)")
    return True


def _undo(kept: Path, name: str, yes: bool) -> None:
    if (copy := _copy(kept)) is None:
        raise click.ClickException(f"There is no copy for {name}: nothing was set up from here.")
    file, before = Path(copy.file), copy.before
    now = _read(file)
    if not _agreed(file, now or "", before or "", yes):
        return
    if now is not None and (copy.edited or now != copy.after):
        _write(aside := _aside(file), now, private=True)
        click.echo(f"It was edited since; as it was it is in {aside}")
    if before is None:
        file.unlink(missing_ok=True)
    else:
        _write(file, before)
    kept.unlink()
    click.echo(f"Put back: {file}" if before is not None else f"Removed: {file}")


def _copy(kept: Path) -> _Copy | None:
    if not kept.exists():
        return None
    try:
        return _Copy(**json.loads(kept.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise click.ClickException(
            f"The copy {kept} cannot be read; take it away, and what was set up stays."
        ) from error


def _aside(file: Path) -> Path:
    """A name that no copy has yet."""
    first = file.with_name(f"{file.name}.before-undo")
    numbered = (file.with_name(f"{first.name}-{number}") for number in count(2))
    return next(name for name in chain([first], numbered) if not name.exists())


def _agreed(file: Path, before: str, after: str, yes: bool) -> bool:
    old, new = before.splitlines(), after.splitlines()
    for line in difflib.unified_diff(old, new, str(file), str(file), lineterm=""):
        click.echo(line)
    return yes or click.confirm("Change it?")


def _tell_of(port: int) -> None:
    advice = f"sessionbridge run --port {port} --mode reverse:https://api.anthropic.com"
    try:
        if mode_at(port) == "regular":
            click.echo(f"The bridge at port {port} is no base URL's: start one with  {advice}")
    except NoBridge:
        click.echo(f"No bridge answers at port {port} yet; start it with  {advice}")


def _read(file: Path) -> str | None:
    """With the ends of its lines as they are; None where there is no file."""
    return file.read_bytes().decode() if file.exists() else None


def _write(file: Path, text: str, *, private: bool = False) -> None:
    """All of it or nothing; a file that is there keeps its mode, and a link stays one."""
    target = file.resolve()
    mode = 0o600 if private or not target.exists() else target.stat().st_mode & 0o777
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as stream:
        stream.write(text.encode())
    unfinished.chmod(mode)
    unfinished.replace(target)
