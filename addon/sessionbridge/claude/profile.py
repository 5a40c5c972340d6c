"""Which Claude CLI, where it works, and where it keeps its transcripts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sessionbridge.claude.work_dirs import (
    DEFAULT,
    KEPT,
    before,
    chosen,
    of_nodes,
    work_dir,
)
from sessionbridge.disk import private_folder
from sessionbridge.model import MemoryKind

logger = logging.getLogger(__name__)

_FOLDER = ("CLAUDE_CONFIG_DIR", "HOME")
"""Variables that say where Claude's is."""


def config_dir(environment: Mapping[str, str]) -> Path:
    """Where a CLI with this environment keeps its files."""
    named = environment.get("CLAUDE_CONFIG_DIR")
    return Path(named) if named else Path(environment.get("HOME") or Path.home()) / ".claude"


def transcripts_folder(config: Path, cwd: Path) -> Path:
    """`<config>/projects/<slug of the working directory>`."""
    # Imported late: it takes more than a second, and most commands never ask for a transcript.
    from claude_agent_sdk import project_key_for_directory

    return config / "projects" / project_key_for_directory(cwd)


def transcript_path(config: Path, cwd: Path, session_id: str) -> Path:
    return transcripts_folder(config, cwd) / f"{session_id}.jsonl"


def bring_in_transcripts(config: Path, there: Path, here: Path, provider: str) -> None:
    """Those of a provider's working directories in one folder to those in another. While another
    proxy still works there, its processes begin them anew."""
    for memory in KEPT:
        old = transcripts_folder(config, work_dir(there, memory, provider))
        new = transcripts_folder(config, work_dir(here, memory, provider))
        if old != new and old.is_dir():
            try:
                _move(old, new)
            except OSError as error:
                logger.warning(
                    "Transcripts of earlier conversations were not brought from %s to %s (%s).",
                    *(old, new, error.strerror),
                )


def _move(there: Path, here: Path) -> None:
    """What has gone on here is not left there as well: nobody would forget it there."""
    private_folder(here)
    with suppress(FileNotFoundError):  # another thread or proxy was faster
        for path in there.iterdir():
            moved = here / path.name
            if not moved.exists():
                path.rename(moved)
            elif path.is_file() and moved.read_bytes().startswith(path.read_bytes()):
                path.unlink()
        there.rmdir()


@dataclass(frozen=True)
class ClaudeProfile:
    """The Claude CLI to use: `cli` is a path or None for the SDK's own; `extra` is added to its
    environment; `home` is whose working directories it has, those of this `provider`. Where nodes
    have them in common, `common` tells which theirs are, for what this one would have."""

    home: Path
    cli: Path | None
    extra: Mapping[str, str]
    retries: int
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    common: Callable[[str], str] | None = None
    provider: str = DEFAULT

    @property
    def bare(self) -> bool:
        """Bare, the CLI reads no login; it needs an API key. That is the one it would use in any
        case, and a token, a cloud's switch or a header beside it have the effect they have without
        (measured with 2.1.332)."""
        return bool(self.extra.get("ANTHROPIC_API_KEY"))

    def work_dir(self, memory: MemoryKind) -> Path:
        return work_dir(self._root, memory, self.provider)

    @cached_property
    def _root(self) -> Path:
        """The home's own has the transcripts of before it was chosen: of an earlier version, or
        from a backup. Raises OSError."""
        own = chosen(self.home)
        bring_in_transcripts(self.config_dir, before(self.home), own, self.provider)
        if self.common is None:
            return own
        return of_nodes(self.home, Path(self.common(str(own))))

    @cached_property
    def config_dir(self) -> Path:
        """What else is in its environment may be a secret that is not there."""
        chosen = {name: self.extra[name] for name in _FOLDER if name in self.extra}
        return config_dir({**self.inherited, **chosen})

    @property
    def temporary_dir(self) -> Path:
        return self.home / "tmp"

    def transcript(self, session_id: str) -> Path:
        return self.transcripts / f"{session_id}.jsonl"

    @cached_property
    def transcripts(self) -> Path:
        """Their folder. Resolves links in the path, which takes longer than all else that is done
        with it. Raises OSError."""
        return transcripts_folder(self.config_dir, self.work_dir("session"))
