"""Every command and option of `sessionbridge` has help, and the documentation names each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from sessionbridge.cli.main import cli
from tests.support.documents import DOCS, README

PAGES = "\n".join(page.read_text("utf-8") for page in (README, *sorted(DOCS.glob("*.md"))))


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


ALL = dict(commands())
NAMED = {path: command for path, command in ALL.items() if path}
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}


def name(path: tuple[str, ...]) -> str:
    return " ".join(("sessionbridge", *path))


def shown(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(cli, [*path, "--help"], terminal_width=80)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("path", ALL, ids=name)
def test_help_says_what_the_command_does_in_sentences(path: tuple[str, ...]) -> None:
    text = ALL[path].help or ""
    assert re.match(r"[A-Z].*[.]", text, re.S), text
    assert " ".join(text.split()) in " ".join(shown(path).split())


@pytest.mark.parametrize("path", ALL, ids=name)
def test_every_option_has_help(path: tuple[str, ...]) -> None:
    context = click.Context(ALL[path])
    for option in ALL[path].get_params(context):
        if isinstance(option, click.Option):
            assert re.fullmatch(r"[A-Z].+\.", option.help or "", re.S), option.name
            assert all(one in shown(path) for one in option.opts), option.name


@pytest.mark.parametrize("path", ALL, ids=name)
def test_help_ends_with_an_example_that_is_one(path: tuple[str, ...]) -> None:
    """Its words are parsed as the shell and click would, and nothing is run."""
    last = shown(path).rstrip().splitlines()[-1].strip()
    assert last.startswith("Example: ")
    program, *words = shlex.split(last.removeprefix("Example: ").partition(" > ")[0])
    assert program == "sessionbridge"
    at, command = cli.make_context("sessionbridge", words), ALL[()]
    reached: tuple[str, ...] = ()
    while isinstance(command, click.Group):
        found, child, rest = command.resolve_command(at, [*at._protected_args, *at.args])
        assert found is not None and child is not None
        reached, command = (*reached, found), child
        at = child.make_context(found, rest, parent=at)
    assert reached[: len(path)] == path


@pytest.mark.parametrize("path", NAMED, ids=name)
def test_the_list_of_commands_shows_what_each_does_to_its_end(path: tuple[str, ...]) -> None:
    (line,) = [
        line
        for line in shown(path[:-1]).partition("Commands:")[2].splitlines()
        if line.split()[:1] == [path[-1]]
    ]
    assert not line.endswith("...")


def test_commands_come_in_the_order_people_need_them() -> None:
    listed = re.findall(r"^  (\w+)  ", shown(()).partition("Commands:")[2], re.M)
    assert listed == cli.list_commands(click.Context(cli))
    assert listed[0] == "run" and listed != sorted(listed)


@pytest.mark.parametrize("path", LEAVES, ids=name)
def test_the_documentation_names_every_command(path: tuple[str, ...]) -> None:
    as_script = rf"scripts/run --{path[0]}\b" if path == ("demo",) else rf"scripts/{path[0]}\b"
    assert re.search(rf"\b{name(path)}\b", PAGES) or re.search(as_script, PAGES), path


@pytest.mark.parametrize("section", re.findall(r"^sessionbridge .*$", PAGES, re.M))
def test_the_lines_it_shows_are_commands_with_such_options(section: str) -> None:
    words = shlex.split(section, comments=True)[1:]
    for end in (">", "--"):
        words = words[: words.index(end)] if end in words else words
    path = tuple(word for word in words if word in {part for path in NAMED for part in path})
    assert path in LEAVES
    options = {one for option in LEAVES[path].params for one in option.opts}
    assert {word for word in words if word.startswith("--")} <= options
