"""Where the Claude CLIs of a home keep their transcripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sessionbridge.claude.profile import config_dir, transcripts_folder
from sessionbridge.claude.work_dirs import DEFAULT, NAME, of_nodes, root, work_dir
from sessionbridge.config import load
from sessionbridge.names import is_conversation
from sessionbridge.sessions.store import copying
from sessionbridge.sessions.store.engine import Database
from sessionbridge.sessions.store.places import Place
from sessionbridge.sessions.store.turn_files import KeptTurn, TurnFiles
from sessionbridge.stored.kept_conversations import is_of

ConfigDirs = Mapping[str, Path]
"""Claude's folder of each provider, by its name."""


def folder_options[F: Callable[..., Any]](command: F) -> F:
    """To be read by `config_dirs`."""
    folder = click.option(
        "--config-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Claude's folder, where the proxy gives its CLI another (default: CLAUDE_CONFIG_DIR, "
        "or ~/.claude).",
    )
    file = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The proxy's sessionbridge_config, where that names providers: each of them has "
        "transcripts of its own.",
    )
    return folder(file(command))


def config_dirs(folder: Path | None, file: Path | None) -> ConfigDirs:
    """As the proxy has them with this config. Those that it names no folder for have this
    machine's, or the default one that is given."""
    try:
        settings = load({"sessionbridge_config": str(file or "")}, {})
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    inherited = config_dir(os.environ).absolute()
    found = {name: table.config_dir or inherited for name, table in settings.providers.items()}
    return found if folder is None else {**found, DEFAULT: folder.absolute()}


class Folders:
    """Of the transcripts that a home itself keeps, one for each provider. All raise OSError."""

    def __init__(self, home: Path, config_dirs: ConfigDirs) -> None:
        self.home = home.absolute()
        self.config_dirs = config_dirs

    def of(self, provider: str) -> Path:
        return transcripts_folder(self.config_dirs[provider], self._cwd(provider))

    def all(self) -> list[Path]:
        """Theirs come last. Before them are those beside them, of providers that are not known: see
        `work_dirs` for how they are named."""
        known = [self.of(provider) for provider in self.config_dirs]
        named = f"{self.of(DEFAULT).name}-{12 * '[0-9a-f]'}"
        beside = {other for folder in known for other in folder.parent.glob(named)}
        return [*sorted(beside.difference(known)), *known]

    @property
    def noted(self) -> TurnFiles:
        """What is noted of turns in all of them."""
        default = self.of(DEFAULT)
        return TurnFiles(default, [folder for folder in self.all() if folder != default])

    def note(self, turns: Sequence[KeptTurn]) -> None:
        """Has these be all that is noted there."""
        self.noted.replace(())
        for provider in self.config_dirs:
            own = (turn for turn in turns if turn.record.key.provider == provider)
            TurnFiles(self.of(provider)).replace(own)

    @property
    def places(self) -> copying.Places:
        return {
            provider: {"cwd": str(self._cwd(provider)), "config_dir": str(config)}
            for provider, config in self.config_dirs.items()
        }

    def _cwd(self, provider: str) -> Path:
        return work_dir(root(self.home), "session", provider)

    def providers(self, db: Database, names: Iterable[str]) -> Mapping[str, str]:
        """Whose the files of these names are. Raises `ClickException` where one of them, or of the
        conversations of this database, is of a provider whose folder is not known."""
        sessions = copying.sessions(db)
        found = {name: self._provider(name, sessions) for name in names}
        unknown = {*found.values(), *copying.mapped_providers(db)} - self.config_dirs.keys()
        if unknown:
            raise click.ClickException(
                f"Where transcripts of {', '.join(sorted(unknown))} belong is not known: name the "
                "proxy's config, which has a table for each provider, with --config. Nothing was "
                "changed."
            )
        return found

    def _provider(self, name: str, sessions: Mapping[str, str]) -> str:
        """What is no session is a conversation that a client has created, whose id tells it."""
        if name in sessions or not is_conversation(name):
            return sessions.get(name, DEFAULT)
        known = {*self.config_dirs, *sessions.values()}
        return next((one for one in known if is_of(one, name)), name)


def transcripts_of(
    home: Path, config: Path | None = None, place: Place | None = None
) -> tuple[Path, Path]:
    """The working directory of the default provider's sessions, and the folder of their
    transcripts: of those that the home itself keeps, or of those that are in the place. Raises
    OSError and `StoreUnavailable`."""
    home = home.absolute()
    cwd = work_dir(root(home) if place is None else root_in(home, place), "session")
    return cwd, transcripts_folder((config or config_dir(os.environ)).absolute(), cwd)


def root_in(home: Path, place: Place) -> Path:
    """The folder of the working directories in which what is in the place has been said."""
    common = place.in_common(NAME)
    return root(home) if common is None else of_nodes(home, Path(common))
