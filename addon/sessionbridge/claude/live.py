"""A started CLI together with the session it holds and how far that has come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from sessionbridge.claude.answer import AnswerReader
from sessionbridge.claude.job import Job, Mode
from sessionbridge.claude.process import CliProcess
from sessionbridge.turn import Delta, Finished, Message


class LiveProcess:
    """Takes one turn after another. `tip` is the last entry of the last turn that succeeded, None
    before the first; `cost_before` is what the session had cost before this process, in US dollars.
    """

    def __init__(self, cli: CliProcess, mode: Mode, session_id: str, cost_before: float) -> None:
        self.cli = cli
        self.mode = mode
        self.session_id = session_id
        self.tip: str | None = None
        self.transcript: tuple[int, ...] | None = None
        """The file it writes to (`file_id`) as its last turn left it; None before the first."""
        self._cost = cost_before

    def goes_on_with(self, job: Job) -> bool:
        """Whether this is where the job wants to continue, and how."""
        base = job.plan.base
        return (
            base is not None
            and (base.internal_id, base.entry_uuid) == (self.session_id, self.tip)
            and job.mode == self.mode
            and self.cli.alive
        )

    async def turn(
        self, feed: Sequence[Message], ask: Message, written: Sequence[str]
    ) -> AsyncGenerator[Delta]:
        """`written` are the entries of messages that it found in its transcript, `feed` what it has
        yet to be given before it is asked."""
        entries = [*written, *[await self.cli.feed(message) for message in feed]]
        entries.append(await self.cli.ask(ask))
        answer = AnswerReader(entries, self._cost)
        async with aclosing(self.cli.messages()) as messages:
            async for message in messages:
                for delta in answer.read(message):
                    if isinstance(delta, Finished):
                        self.tip, self.session_id = delta.entries[-1], delta.internal_id
                        self._cost = answer.cost
                        yield delta
                        return
                    yield delta
