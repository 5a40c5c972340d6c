"""Starts the Claude CLI as this bridge needs it: nothing of the machine is open to a prompt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from claude_agent_sdk import ClaudeAgentOptions

from sessionbridge.claude.disk import on_thread, private
from sessionbridge.claude.environment import child_environment
from sessionbridge.claude.job import Mode
from sessionbridge.claude.live import LiveProcess
from sessionbridge.claude.process import CliProcess
from sessionbridge.claude.transcript import (
    config_dir,
    cost_at,
    cost_so_far,
    newest_transcript,
    transcript_path,
)
from sessionbridge.turn import MemoryKind, Point

_LONGEST_LINE = 256 * 1024 * 1024


@dataclass(frozen=True)
class ClaudeProfile:
    """The Claude CLI to use: `cli` is a path or None for the SDK's own; `extra` is added to its
    environment; `home` is where its working directories are; `secret` marks its requests."""

    home: Path
    cli: Path | None
    extra: Mapping[str, str]
    retries: int
    secret: str
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def work_dir(self, memory: MemoryKind) -> Path:
        """Transcripts belong to a working directory, so each kind of memory has its own."""
        return self.home / "work" / ("continue" if memory == "continue" else "claude")

    @cached_property
    def config_dir(self) -> Path:
        return config_dir({**self.inherited, **self.extra})

    def transcript(self, internal_id: str) -> Path:
        return self._transcripts / f"{internal_id}.jsonl"

    @cached_property
    def _transcripts(self) -> Path:
        """Resolves links in the path, which takes longer than all else that is done with it."""
        return transcript_path(self.config_dir, self.work_dir("session"), "any").parent


class Launcher:
    """`version` is that of the CLI that was started last."""

    def __init__(self, profile: ClaudeProfile) -> None:
        self._profile = profile
        self.version: str | None = None

    async def start(
        self, mode: Mode, session_id: str, base: Point | None = None, *, fork: bool = False
    ) -> LiveProcess:
        """Returns when it is ready to be asked. Raises `SessionLost` where `base` is gone."""
        cost = await on_thread(lambda: self._cost_before(mode, base))
        prompt_file = self._profile.home / "run" / f"system-{uuid4()}.txt"
        options = self._options(mode, prompt_file)
        _continue_from(options, mode, session_id, base, fork=fork)
        cli = CliProcess(options)
        try:
            try:
                await on_thread(lambda: self._prepare(mode, prompt_file))
                self.version = await cli.start()
            finally:
                # It has been read, or never will be.
                await on_thread(lambda: prompt_file.unlink(missing_ok=True))
        except BaseException:
            await cli.kill()
            raise
        return LiveProcess(cli, mode, session_id, cost)

    def _prepare(self, mode: Mode, prompt_file: Path) -> None:
        """Writes the system prompt to a file: a command line is short, and readable by all."""
        self._profile.work_dir(mode.memory).mkdir(parents=True, exist_ok=True)
        prompt_file.parent.mkdir(mode=0o700, exist_ok=True)
        with open(prompt_file, "xb", opener=private) as file:
            # JSON can carry half a surrogate pair, UTF-8 cannot.
            file.write(mode.system.encode("utf-8", "replace"))

    def _cost_before(self, mode: Mode, base: Point | None) -> float:
        if mode.memory == "continue":
            cwd, config = self._profile.work_dir(mode.memory), self._profile.config_dir
            return cost_so_far(newest_transcript(config, cwd))
        if base is None:
            return 0.0
        return cost_at(self._profile.transcript(base.internal_id), base.entry_uuid)

    def _options(self, mode: Mode, prompt_file: Path) -> ClaudeAgentOptions:
        profile = self._profile
        return ClaudeAgentOptions(
            cli_path=profile.cli,
            cwd=profile.work_dir(mode.memory),
            env=child_environment(
                # The SDK hands on what the environment holds now, so that is what to blank.
                dict.fromkeys(os.environ, "") | dict(profile.inherited),
                profile.extra,
                secret=profile.secret,
                retries=profile.retries,
                compaction=mode.compaction,
            ),
            model=mode.model,
            system_prompt={"type": "file", "path": str(prompt_file)},
            # Or a session keeps the system prompt it began with, whatever comes later (measured).
            extra_args={"system-prompt-snapshot": "off"},
            # Nothing of the machine the bridge runs on is open to whoever writes the prompts.
            tools=[],
            strict_mcp_config=True,
            setting_sources=[],
            verbatim_prompts=True,
            include_partial_messages=True,
            max_buffer_size=_LONGEST_LINE,
        )


def _continue_from(
    options: ClaudeAgentOptions, mode: Mode, session_id: str, base: Point | None, *, fork: bool
) -> None:
    """A resume always names its tip, which leaves behind what an aborted turn may have written
    after it; a new session and a fork get the id we chose."""
    if mode.memory == "continue":
        options.continue_conversation = True
    elif mode.memory == "none":
        options.extra_args["no-session-persistence"] = None
    elif base is None:
        options.session_id = session_id
    else:
        options.resume, options.resume_session_at = base.internal_id, base.entry_uuid
        options.fork_session = fork
        options.session_id = session_id if fork else None
