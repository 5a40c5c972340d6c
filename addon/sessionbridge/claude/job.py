"""What the bridge asks of the Claude CLI."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from sessionbridge.claude import models
from sessionbridge.turn import MemoryKind, Plan


@dataclass(frozen=True, slots=True)
class Mode:
    """What a process is started with and cannot change later. `model` is a name the CLI knows."""

    system: str
    model: str
    memory: MemoryKind
    compaction: bool


@dataclass(frozen=True, slots=True)
class Job:
    """One dispatch. `session_id` is the id its session gets where it needs a new one.
    `compaction` lets the CLI shorten a conversation that grew too long."""

    plan: Plan
    session_id: str
    system: str
    model: str
    memory: MemoryKind
    compaction: bool

    @property
    def mode(self) -> Mode:
        return Mode(self.system, models.chosen(self.model), self.memory, self.compaction)

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
