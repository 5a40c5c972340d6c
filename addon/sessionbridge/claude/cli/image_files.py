"""Keeps the CLI from writing images to files: it tells the model where each is, in a line that the
client never sent.

It has no setting for that, but where the file cannot be written the line is left out (measured with
2.1.330). What is asked or fed goes below `<CLAUDE_CODE_TMPDIR>/claude-<user>/<slug of the working
directory>`, the results of tools below a folder beside the transcript, of the same name.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from claude_agent_sdk import project_key_for_directory

from sessionbridge.claude.cli.leftovers import user_folder
from sessionbridge.claude.transcript.files import folder_of


def prevent(temporary_dir: Path, work_dir: Path) -> None:
    """For what is asked and fed in sessions of this working directory."""
    _block(user_folder(temporary_dir) / project_key_for_directory(work_dir))


def prevent_results(transcript: Path) -> None:
    """For the results of tools in one session. Where nothing can be written, nothing is."""
    with suppress(OSError):
        _block(folder_of(transcript))


def _block(folder: Path) -> None:
    """A file where a folder is wanted."""
    if not folder.exists():
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.touch(mode=0o600)
