"""Where the Claude CLI of a home keeps its transcripts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sessionbridge.claude.profile import config_dir, transcripts_folder
from sessionbridge.claude.work_dirs import NAME, of_nodes, root, work_dir
from sessionbridge.sessions.store.places import Place


def config_dir_option[F: Callable[..., Any]](command: F) -> F:
    option = click.option(
        "--config-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Claude's folder, where the proxy gives its CLI another (default: CLAUDE_CONFIG_DIR, "
        "or ~/.claude).",
    )
    return option(command)


def transcripts_of(
    home: Path, config: Path | None = None, place: Place | None = None
) -> tuple[Path, Path]:
    """The working directory of sessions, and the folder of their transcripts: of those that the
    home itself keeps, or of those that are in the place. Raises OSError and `StoreUnavailable`."""
    home = home.absolute()
    cwd = work_dir(root(home) if place is None else root_in(home, place), "session")
    return cwd, transcripts_folder((config or config_dir(os.environ)).absolute(), cwd)


def root_in(home: Path, place: Place) -> Path:
    """The folder of the working directories in which what is in the place has been said."""
    common = place.in_common(NAME)
    return root(home) if common is None else of_nodes(home, Path(common))
