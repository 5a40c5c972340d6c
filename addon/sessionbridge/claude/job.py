"""What the bridge asks of the Claude CLI."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from sessionbridge.model import (
    Effort,
    Finished,
    MemoryKind,
    Message,
    Parameters,
    Plan,
    Spent,
    Thinking,
    Tool,
)

MOST_TOKENS = 128_000
"""No model gives a longer answer (measured with CLI 2.1.332)."""


EFFORT: Effort = "high"
"""The API's default (API reference, "Effort"); the CLI's own is "medium" for the 5.5 models."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process is told for a turn, and anew where the next one has others. `model` is a name
    the CLI knows, `schema` that of a structured answer; with `compaction` the CLI may shorten a
    conversation that grew too long."""

    model: str
    system: str = ""
    tools: tuple[Tool, ...] = ()
    effort: Effort = EFFORT
    max_tokens: int | None = None
    thinking: Thinking | None = None
    schema: Mapping[str, Any] | None = None
    compaction: bool = False


class Meter:
    """Says what a turn has spent while it is under way: one that fails or is left has no `Finished`
    to tell. More than one process may have worked on it."""

    def __init__(self) -> None:
        self._readings: list[Callable[[], Spent | None]] = []

    def connect(self, reading: Callable[[], Spent | None]) -> None:
        self._readings.append(reading)

    def read(self) -> Spent | None:
        """None where no model call is known to have begun."""
        told = [spent for reading in self._readings if (spent := reading()) is not None]
        return reduce(_both, told) if told else None


def _both(one: Spent, other: Spent) -> Spent:
    costs = [spent.cost_usd for spent in (one, other) if spent.cost_usd is not None]
    return replace(other, usage=one.usage + other.usage, cost_usd=sum(costs) if costs else None)


@dataclass(frozen=True, slots=True)
class Job:
    """One dispatch. `session_id` is the id its session gets where it needs a new one. The answer is
    cut before any of the `stop` sequences. `patience` is how many seconds its beginning may take.
    `meter` is read by whoever gave it."""

    plan: Plan
    session_id: str
    system: str
    model: str
    memory: MemoryKind
    compaction: bool
    parameters: Parameters = Parameters()
    stop: tuple[str, ...] = ()
    patience: float = math.inf
    meter: Meter = field(default_factory=Meter, compare=False)

    @property
    def settings(self) -> Settings:
        parameters = self.parameters
        # The CLI shows the model the tools by their names, in whatever order they come (measured
        # with 2.1.332).
        tools = tuple(sorted(parameters.tools, key=lambda tool: tool.name))
        limit = parameters.max_tokens
        # Above what any model can give the CLI lowers it to what this one can, so that limits which
        # differ there are one (Kimi Code takes a few tokens off each turn).
        limit = None if limit is None else min(limit, MOST_TOKENS)
        # JSON can carry half a surrogate pair, UTF-8 cannot.
        system = self.system.encode("utf-8", "replace").decode()
        return Settings(
            self.model,
            system,
            tools,
            parameters.effort or EFFORT,
            limit,
            parameters.thinking,
            parameters.schema,
            self.compaction,
        )

    @property
    def command(self) -> str:
        """The command line this equals, for people to read; prompts go through standard input."""
        words = ["claude", "--print", "--model", self.model]
        base = self.plan.base
        if self.memory == "continue":
            words.append("--continue")
        elif base is not None:
            words += ["--resume", base.session_id, "--resume-session-at", base.entry_uuid]
        if base is not None and self.plan.name != "resume":
            words.append("--fork-session")
        if self.memory == "session" and self.plan.name != "resume":
            words += ["--session-id", self.session_id]
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ended. `said` is the answer as the client got it, None where that is nothing to be
    seen; `holds_it` says whether the CLI shows the model that answer as the client got it. Where
    the process `goes_on`, it can take the turn that follows."""

    end: Finished
    said: Message | None
    holds_it: bool
    goes_on: bool
