"""Hands a plan to the Claude CLI and yields what the model answers.

`Dispatcher` is what the bridge needs of this room; the tests' scripted dispatcher is its other
implementation.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

from claude_agent_sdk import ClaudeAgentOptions

from sessionbridge.claude import imports, models
from sessionbridge.claude.answer import AnswerReader
from sessionbridge.claude.environment import child_environment
from sessionbridge.claude.process import CliProcess, FeedRefused
from sessionbridge.claude.transcript import (
    config_dir,
    cost_at,
    cost_so_far,
    newest_transcript,
    transcript_path,
)
from sessionbridge.errors import ClaudeFailed
from sessionbridge.turn import Delta, Finished, MemoryKind, Plan, Point

logger = logging.getLogger(__name__)

_LONGEST_LINE = 256 * 1024 * 1024

_Way = Literal["feed", "file"]
"""How the CLI is given the messages before the one it is asked."""


@dataclass(frozen=True, slots=True)
class Job:
    """One dispatch. `session_id` is the id the session is to have: a new one, or the one resumed.
    `compaction` lets the CLI shorten a conversation that grew too long."""

    plan: Plan
    session_id: str
    system: str
    model: str
    memory: MemoryKind
    compaction: bool

    @property
    def command(self) -> str:
        """The command line this equals, for people to read; prompts go through standard input."""
        words = ["claude", "--print", "--model", models.chosen(self.model)]
        base = self.plan.base
        if self.memory == "continue":
            words.append("--continue")
        elif base is not None:
            words += ["--resume", base.internal_id, "--resume-session-at", base.entry_uuid]
        if base is not None and self.plan.name != "resume":
            words.append("--fork-session")
        if self.memory == "session" and self.plan.name != "resume":
            words += ["--session-id", self.session_id]
        return shlex.join(words)


class Dispatcher(Protocol):
    place: dict[str, str]
    """Where its transcripts are, kept with each session: they cannot be found from elsewhere."""

    def run(self, job: Job) -> AsyncGenerator[Delta]:
        """Yields `Started`, text, and last `Finished`; raises `BridgeError` for any failure."""

    def knows(self, model: str) -> bool:
        """Whether this name chooses a model; any other runs the default one."""

    async def discard(self, internal_id: str) -> None:
        """Deletes what is kept of a session of ours; one that is not there is none to delete."""


@dataclass(frozen=True, slots=True)
class ClaudeProfile:
    """The Claude CLI to use: `cli` is a path or None for the SDK's own; `extra` is added to its
    environment; `home` is where its working directories are; `secret` marks its requests. A new
    conversation of more than `feeds_up_to` messages is imported as a file."""

    home: Path
    cli: Path | None
    extra: Mapping[str, str]
    retries: int
    secret: str
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    feeds_up_to: int = imports.LONG

    def work_dir(self, memory: MemoryKind) -> Path:
        """Transcripts belong to a working directory, so each kind of memory has its own."""
        return self.home / "work" / ("continue" if memory == "continue" else "claude")

    @property
    def config_dir(self) -> Path:
        return config_dir({**self.inherited, **self.extra})


class ClaudeDispatcher:
    """One process for each turn."""

    def __init__(self, profile: ClaudeProfile) -> None:
        self._profile = profile
        self._feeding_works = True
        self.place = {
            "cwd": str(profile.work_dir("session")),
            "config_dir": str(profile.config_dir),
        }

    def knows(self, model: str) -> bool:
        return models.is_claude(model)

    async def discard(self, internal_id: str) -> None:
        await asyncio.to_thread(self._transcript(internal_id).unlink, missing_ok=True)

    async def run(self, job: Job) -> AsyncGenerator[Delta]:
        finished = False
        try:
            async with aclosing(self._tried(job)) as deltas:
                async for delta in deltas:
                    finished = isinstance(delta, Finished)
                    yield delta
        finally:
            if not finished and job.memory == "session" and job.plan.name != "resume":
                # Nobody will ever name this session; its process has ended.
                self._transcript(job.session_id).unlink(missing_ok=True)

    async def _tried(self, job: Job) -> AsyncGenerator[Delta]:
        first, *second = self._ways(job)
        said = False
        try:
            async with aclosing(self._by(first, job)) as deltas:
                async for delta in deltas:
                    said = True
                    yield delta
            return
        except ClaudeFailed as error:
            refused = isinstance(error, FeedRefused)
            self._feeding_works = self._feeding_works and not refused
            if said or not second or not (refused or first == "file"):
                raise
            logger.warning("import by %s failed, now by %s: %s", first, second[0], error.message)
        await self.discard(job.session_id)  # or the CLI refuses the id as used
        async with aclosing(self._by(second[0], job)) as deltas:
            async for delta in deltas:
                yield delta

    def _ways(self, job: Job) -> tuple[_Way, ...]:
        """The way to try first, and another where there is one. Only a session of its own that
        starts from nothing can be written as a file."""
        plan = job.plan
        new = plan.base is None and job.memory == "session"
        if not new or not imports.writable(plan.feed):
            return ("feed",)
        if not self._feeding_works:
            return ("file",)
        long = len(plan.feed) > self._profile.feeds_up_to
        return ("file", "feed") if long or imports.has_image(plan.feed) else ("feed", "file")

    async def _by(self, way: _Way, job: Job) -> AsyncGenerator[Delta]:
        written: tuple[str, ...] = ()
        if way == "file":
            job, written = await asyncio.to_thread(self._import, job)
        async with aclosing(self._run(job, written)) as deltas:
            async for delta in deltas:
                yield delta

    def _import(self, job: Job) -> tuple[Job, tuple[str, ...]]:
        """Writes what can be written; what is left is to resume it and feed the rest."""
        plan, count = job.plan, imports.writable(job.plan.feed)
        cwd = self._profile.work_dir(job.memory)
        entries = imports.write(self._transcript(job.session_id), plan.feed[:count], cwd)
        base = Point("", job.session_id, entries[-1], 0, is_tip=True)
        rest = replace(plan, name="resume", base=base, feed=plan.feed[count:])
        return replace(job, plan=rest), entries

    async def _run(self, job: Job, written: tuple[str, ...]) -> AsyncGenerator[Delta]:
        """One process. `written` are the entries of messages it will find in its transcript."""
        prompt_file = self._profile.home / "run" / f"system-{uuid4()}.txt"
        process = CliProcess(self._options(job, prompt_file))
        finished = False
        try:
            cost_before = await asyncio.to_thread(self._cost_before, job)
            # Not on a thread: it would go on after a cancellation, and leave the file behind.
            self._prepare(job, prompt_file)
            self.place["cli_version"] = await process.start()
            prompt_file.unlink(missing_ok=True)  # it has been read
            entries = [*written, *[await process.feed(message) for message in job.plan.feed]]
            entries.append(await process.ask(job.plan.ask))
            answer = AnswerReader(entries, cost_before)
            async with aclosing(process.messages()) as messages:
                async for message in messages:
                    for delta in answer.read(message):
                        finished = isinstance(delta, Finished)
                        yield delta
                    if finished:
                        break
        finally:
            try:
                await (process.finish() if finished else process.kill())
            finally:
                prompt_file.unlink(missing_ok=True)

    def _prepare(self, job: Job, prompt_file: Path) -> None:
        """Writes the system prompt to a file: a command line is short, and readable by all."""
        self._profile.work_dir(job.memory).mkdir(parents=True, exist_ok=True)
        prompt_file.parent.mkdir(mode=0o700, exist_ok=True)
        with open(prompt_file, "xb", opener=_private) as file:
            # JSON can carry half a surrogate pair, UTF-8 cannot.
            file.write(job.system.encode("utf-8", "replace"))

    def _cost_before(self, job: Job) -> float:
        """Raises `SessionLost` where there is nothing to go on from."""
        if job.memory == "continue":
            cwd, config = self._profile.work_dir(job.memory), self._profile.config_dir
            return cost_so_far(newest_transcript(config, cwd))
        base = job.plan.base
        if base is None:
            return 0.0
        return cost_at(self._transcript(base.internal_id), base.entry_uuid)

    def _transcript(self, internal_id: str) -> Path:
        cwd = self._profile.work_dir("session")
        return transcript_path(self._profile.config_dir, cwd, internal_id)

    def _options(self, job: Job, prompt_file: Path) -> ClaudeAgentOptions:
        profile = self._profile
        options = ClaudeAgentOptions(
            cli_path=profile.cli,
            cwd=profile.work_dir(job.memory),
            env=child_environment(
                # The SDK hands on what the environment holds now, so that is what to blank.
                dict.fromkeys(os.environ, "") | dict(profile.inherited),
                profile.extra,
                secret=profile.secret,
                retries=profile.retries,
                compaction=job.compaction,
            ),
            model=models.chosen(job.model),
            system_prompt={"type": "file", "path": str(prompt_file)},
            # Nothing of the machine the bridge runs on is open to whoever writes the prompts.
            tools=[],
            strict_mcp_config=True,
            setting_sources=[],
            verbatim_prompts=True,
            include_partial_messages=True,
            max_buffer_size=_LONGEST_LINE,
        )
        match job.memory:
            case "continue":
                options.continue_conversation = True
            case "none":
                options.extra_args = {"no-session-persistence": None}
            case "session":
                _continue_from(job, options)
        return options


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def _continue_from(job: Job, options: ClaudeAgentOptions) -> None:
    """A resume always names its tip, which leaves behind what an aborted turn may have written
    after it; a new session and a fork get the id we chose."""
    base, resumes = job.plan.base, job.plan.name == "resume"
    if base is not None:
        options.resume = base.internal_id
        options.resume_session_at = base.entry_uuid
        options.fork_session = not resumes
    if not resumes:
        options.session_id = job.session_id
