"""Where the Claude CLI of a home keeps its transcripts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sessionbridge.claude.profile import config_dir, transcripts_folder
from sessionbridge.claude.work_dirs import root, work_dir


def config_dir_option[F: Callable[..., Any]](command: F) -> F:
    option = click.option(
        "--config-dir",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Claude's folder, where the proxy gives its CLI another (default: CLAUDE_CONFIG_DIR, "
        "or ~/.claude).",
    )
    return option(command)


def transcripts_of(home: Path, config: Path | None = None) -> tuple[Path, Path]:
    """The working directory of sessions, and the folder of their transcripts. Raises OSError."""
    cwd = work_dir(root(home.absolute()), "session")
    return cwd, transcripts_folder((config or config_dir(os.environ)).absolute(), cwd)
