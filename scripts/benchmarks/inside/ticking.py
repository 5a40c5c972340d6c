"""A dispatcher that asks no model: it says the time, as often and as evenly as it is told to.

Each tick carries two times of the machine's monotonic clock, which all processes share: when it was
due, and when it was really said. From the first a client sees what it would have waited for a CLI
that writes evenly; from the second alone, a loop that was held up would have hidden its own delay.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import uuid4

from sessionbridge.claude.job import Job
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.model import Delta, Dispatched, Finished, Message, Started, TextDelta, Usage

TICK = re.compile(rb"tick (\d+\.\d+) (\d+\.\d+);")
_USAGE = Usage(10, 20, 30, 40)


@dataclass(frozen=True, slots=True)
class Score:
    """What a client asks for, written into its message: so many ticks, so many seconds apart."""

    ticks: int
    every: float

    def written(self) -> str:
        return json.dumps({"ticks": self.ticks, "every": self.every})

    @classmethod
    def read(cls, message: Message) -> Score:
        return cls(**json.loads(message.blocks[-1]["text"]))


class TickingDispatcher(ClaudeDispatcher):
    """The real one in all but its runs, so that whatever else the bridge asks of it is there."""

    async def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        score = Score.read(job.plan.ask)
        yield Dispatched(job.plan, job.session_id, job.command, "new")
        yield Started(f"msg_{uuid4().hex}", "claude-ticking-1", _USAGE)
        begun = time.monotonic()
        for number in range(score.ticks):
            due = begun + number * score.every
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield TextDelta(0, f"tick {due:.6f} {time.monotonic():.6f};")
        # One for each message fed, for the one asked, and for the answer.
        entries = tuple(str(uuid4()) for _ in range(len(job.plan.feed) + 2))
        yield Finished(job.session_id, entries, "end_turn", _USAGE, 0.01)
