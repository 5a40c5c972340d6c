"""A started CLI together with the session it holds and how far that has come."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from claude_agent_sdk import AssistantMessage, SystemMessage, UserMessage

from sessionbridge.claude.cli.answer import AnswerReader
from sessionbridge.claude.cli.answer_end import AnswerEnd
from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.cli.stops import CutAnswer
from sessionbridge.claude.job import Job, Meter, Mode
from sessionbridge.claude.tools import client_tools
from sessionbridge.claude.tools.client_tools import ClientTools
from sessionbridge.claude.tools.replay import Replay
from sessionbridge.claude.tools.values import OwnValues
from sessionbridge.model import Block, Delta, Finished, Message, ThinkingDelta, ToolCall


class LiveProcess:
    """Takes one turn after another. `tip` is the last entry of the last turn that succeeded, None
    before the first; `cost_before` is what the session had cost before this process, in US dollars.
    """

    def __init__(
        self, cli: CliProcess, mode: Mode, session_id: str, cost_before: float, tools: ClientTools
    ) -> None:
        self.cli = cli
        self.mode = mode
        self.session_id = session_id
        self.tip: str | None = None
        self.transcript: tuple[int, ...] | None = None
        """The file it writes to (`file_id`) as its last turn left it; None before the first."""
        self.waits_for: frozenset[str] = frozenset()
        """The ids of calls whose results its turn needs to go on."""
        self.said: Message | None = None
        """Its last answer as the client got it; None where that is nothing to be seen."""
        self.holds_what_it_said = True
        """Whether the CLI shows the model that answer as the client got it."""
        self.astray = False
        """Whether it goes on without us: its turn had not ended when the answer had."""
        self._tools = tools
        self._values = OwnValues(mode.parameters.tools)
        self._cost, self._estimated = cost_before, 0.0

    def goes_on_with(self, job: Job) -> bool:
        """Whether this is where the job wants to continue, and how."""
        base, ask = job.plan.base, job.plan.ask
        return (
            base is not None
            and (base.internal_id, base.entry_uuid) == (self.session_id, self.tip)
            and job.mode == self.mode
            and self.cli.alive
            and (not self.waits_for or client_tools.answers(ask, self.waits_for))
        )

    async def turn(
        self,
        feed: Sequence[Message],
        ask: Message,
        written: Sequence[str],
        stop: Sequence[str] = (),
        meter: Meter | None = None,
        patience: float = math.inf,
    ) -> AsyncGenerator[Delta]:
        """`written` are the entries of messages that it found in its transcript, `feed` what it has
        yet to be given before it is asked."""
        structured = self.mode.parameters.schema is not None
        self.cli.stop_at(AnswerEnd(structured=structured, tools=self._tools.names))
        results: Iterator[Block] = iter(())
        entries: list[str | None] = [*written]
        if self.waits_for:
            # The entries of results are the CLI's; a fork between them would not hold them all.
            results, self.waits_for = iter(ask.blocks), frozenset()
            entries.append(None)
            self._give(results)
        else:
            entries += [await self.cli.feed(message) for message in feed]
            entries.append(await self.cli.ask(ask))
        answer = AnswerReader(
            self.session_id,
            entries,
            self._cost,
            structured=structured,
            tools=self._tools.names,
            estimated=self._estimated,
            patience=patience,
        )
        if meter is not None:
            meter.connect(lambda: answer.spent)
        cut, replay = CutAnswer(stop), Replay()
        async with aclosing(self.cli.messages()) as messages:
            async for message in messages:
                if isinstance(message, UserMessage):
                    answer.results_taken(message.uuid)
                    self._give(results)
                if isinstance(message, AssistantMessage):
                    replay.held(message)
                if isinstance(message, SystemMessage) and message.subtype == "init":
                    self._tools.check_taken(message.data.get("tools"))
                shown = [delta for read in answer.read(message) for delta in cut.of(read)]
                for delta in [own for read in shown for own in self._values.of(self._named(read))]:
                    if isinstance(delta, ThinkingDelta) and not self._shows_thoughts:
                        continue
                    replay.given(delta)
                    if isinstance(delta, Finished):
                        self._end(answer, delta, replay)
                        yield delta
                        return
                    yield delta

    def _named(self, delta: Delta) -> Delta:
        if not isinstance(delta, ToolCall):
            return delta
        return replace(delta, name=self._tools.given_name(delta.name))

    @property
    def _shows_thoughts(self) -> bool:
        """The CLI has no word for a client that wants their signature alone (measured)."""
        thinking = self.mode.parameters.thinking
        return thinking is not None and thinking.display == "summarized"

    def _give(self, results: Iterator[Block]) -> None:
        """One at a time, each when the CLI has taken the one before: so they keep their order."""
        if (result := next(results, None)) is not None:
            self._tools.give(result)

    def _end(self, answer: AnswerReader, end: Finished, replay: Replay) -> None:
        self.tip, self.session_id = end.tip, end.internal_id
        self._cost, self._estimated = answer.cost, answer.estimated
        calls = end.stop_reason == "tool_use"
        self.said = _message(_as_told(answer, end, replay))
        known = bool(answer.calls) and self._tools.names.issuperset(answer.calls.values())
        if calls and known and replay.has_true_calls:
            self.waits_for = frozenset(answer.calls)
            return
        self.astray = answer.cut
        self.holds_what_it_said = end.exact and not answer.calls


def _as_told(answer: AnswerReader, end: Finished, replay: Replay) -> Mapping[int, Block]:
    """By the place of each block. Calls are part of what was said where results are to follow."""
    if not end.exact:
        return replay.texts
    return answer.said | (replay.calls if end.stop_reason == "tool_use" else {})


def _message(blocks: Mapping[int, Block]) -> Message | None:
    said = tuple(block for _, block in sorted(blocks.items()))
    seen = any(block["type"] == "tool_use" or str(block.get("text", "")).strip() for block in said)
    return Message("assistant", said) if seen else None
