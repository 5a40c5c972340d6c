"""A started CLI together with the session it holds and how far that has come."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from claude_agent_sdk import AssistantMessage, SystemMessage, UserMessage

from sessionbridge.claude.cli.answer import STRUCTURED, AnswerReader
from sessionbridge.claude.cli.answer_end import AnswerEnd
from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.cli.settings import can_change, first_request, names_told, requests
from sessionbridge.claude.cli.stops import CutAnswer
from sessionbridge.claude.job import Job, Meter, Settings, TurnEnd
from sessionbridge.claude.tools import client_tools
from sessionbridge.claude.tools.client_tools import ClientTools
from sessionbridge.claude.tools.replay import Replay
from sessionbridge.claude.tools.values import OwnValues
from sessionbridge.claude.transcript.files import Version
from sessionbridge.errors import BadRequest
from sessionbridge.model import (
    Block,
    Delta,
    Finished,
    MemoryKind,
    Message,
    ThinkingDelta,
    ToolCall,
    ToolResultBlock,
)


class LiveProcess:
    """Takes one turn after another. `tip` is the last entry of the last turn that succeeded, or
    where it goes on in a session, None in a new one; `cost_before` is what the session had cost
    before this process, in US dollars; `kept` are the variables of its environment that no client
    changes."""

    def __init__(
        self,
        cli: CliProcess,
        memory: MemoryKind,
        session_id: str,
        cost_before: float,
        tools: ClientTools,
        kept: Collection[str] = (),
    ) -> None:
        self.cli = cli
        self.memory = memory
        self.settings: Settings | None = None
        """Those in force; None until it has been told any."""
        self.session_id = session_id
        self.tip: str | None = None
        self.kept: str | None = None
        """The entry up to which its transcript is known to be whole."""
        self.transcript: Version | None = None
        """The version of it that its last turn left; None before the first."""
        self.waits_for: frozenset[str] = frozenset()
        """The ids of calls whose results its turn needs to go on."""
        self._tools = tools
        self._kept = kept
        self._values = OwnValues(())
        self._cost, self._estimated = cost_before, 0.0

    def goes_on_with(self, job: Job) -> bool:
        """Whether this is where the job wants to continue, and it can."""
        base = job.plan.base
        return (
            base is not None
            and (base.session_id, base.entry_uuid) == (self.session_id, self.tip)
            and job.memory == self.memory
            and self.can_have(job.settings)
            and self.cli.alive
            and (not self.waits_for or self._takes_results(job))
        )

    def can_have(self, settings: Settings) -> bool:
        """Whether it can be told these for the turn that comes."""
        known = self.settings
        return known is None or can_change(known, settings, begun=self.tip is not None)

    def _takes_results(self, job: Job) -> bool:
        """In the middle of a turn the CLI keeps the settings it has (measured with 2.1.332)."""
        same = job.settings == self.settings
        return same and client_tools.answers(job.plan.ask, self.waits_for)

    async def begin(self, settings: Settings) -> None:
        """With those that it was started with."""
        self._have(settings)
        await self.cli.begin(first_request(settings, self._tools.server))
        self.cli.asks(settings.model)

    async def change(self, settings: Settings) -> tuple[str, ...]:
        """To those of the turn that comes; returns the names of what it had to be told. Raises
        `SettingRefused`; what is in force is not known then."""
        before = self.settings
        if before == settings:
            return ()
        if before is None:
            await self.begin(settings)
        else:
            self._have(settings)
            self.cli.asks(settings.model)
        known = self.cli.model, self._tools.server, self._kept
        for request in requests(before, settings, *known):
            await self.cli.set(request)
        return names_told(before, settings)

    def _have(self, settings: Settings) -> None:
        before, self.settings = self.settings, settings
        if before is None or before.tools != settings.tools:
            self._tools.change(settings.tools)
            self._values = OwnValues(settings.tools)

    async def turn(
        self,
        feed: Sequence[Message],
        ask: Message,
        written: Sequence[str],
        stop: Sequence[str] = (),
        meter: Meter | None = None,
        patience: float = math.inf,
    ) -> AsyncGenerator[Delta | TurnEnd]:
        """`written` are the entries of messages that it found in its transcript, `feed` what it has
        yet to be given before it is asked. What comes last is the `TurnEnd`."""
        assert self.settings is not None
        structured = self.settings.schema is not None
        self.cli.stop_at(AnswerEnd(structured=structured, tools=self._tools.names))
        results: Iterator[ToolResultBlock] = iter(())
        entries: list[str | None] = [*written]
        if self.waits_for:
            # The entries of results are the CLI's; a fork between them would not hold them all.
            results = (block for block in ask.blocks if block["type"] == "tool_result")
            self.waits_for = frozenset()
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
                    self._check_taken(message.data.get("tools"))
                shown = [delta for read in answer.read(message) for delta in cut.of(read)]
                for delta in [own for read in shown for own in self._values.of(self._named(read))]:
                    if isinstance(delta, ThinkingDelta) and not self._shows_thoughts:
                        continue
                    replay.given(delta)
                    if isinstance(delta, Finished):
                        yield self._outcome(answer, delta, replay)
                        return
                    yield delta

    def _check_taken(self, listed: object) -> None:
        """Before the model is asked: of a schema that is not valid the CLI says nothing."""
        self._tools.check_taken(listed)
        wanted = self.settings is not None and self.settings.schema is not None
        if wanted and isinstance(listed, list) and STRUCTURED not in listed:
            raise BadRequest(
                "The Claude CLI does not take the JSON schema of the answer; see whether it is "
                "valid JSON Schema (draft 2020-12), without references to what it does not hold."
            )

    def _named(self, delta: Delta) -> Delta:
        if not isinstance(delta, ToolCall):
            return delta
        return replace(delta, name=self._tools.given_name(delta.name))

    @property
    def _shows_thoughts(self) -> bool:
        """The CLI has no word for a client that wants their signature alone (measured with
        2.1.332)."""
        thinking = self.settings.thinking if self.settings else None
        return thinking is not None and thinking.display == "summarized"

    def _give(self, results: Iterator[ToolResultBlock]) -> None:
        """One at a time, each when the CLI has taken the one before: so they keep their order."""
        if (result := next(results, None)) is not None:
            self._tools.give(result)

    def _outcome(self, answer: AnswerReader, end: Finished, replay: Replay) -> TurnEnd:
        self.tip, self.session_id = end.tip, end.session_id
        self._cost, self._estimated = answer.cost, answer.estimated
        said = _message(_as_told(answer, end, replay))
        known = bool(answer.calls) and self._tools.names.issuperset(answer.calls.values())
        if end.stop_reason == "tool_use" and known and replay.has_true_calls:
            self.waits_for = frozenset(answer.calls)
            return TurnEnd(end, said, holds_it=True, goes_on=True)
        holds_it = end.exact and not answer.calls
        # An answer that was cut has ended before its turn: the process goes on without us.
        return TurnEnd(end, said, holds_it, goes_on=holds_it and not answer.cut)


def _as_told(answer: AnswerReader, end: Finished, replay: Replay) -> Mapping[int, Block]:
    """By the number of each block. Calls are part of what was said where results are to follow."""
    if not end.exact:
        return replay.texts
    return answer.said | (replay.calls if end.stop_reason == "tool_use" else {})


def _message(blocks: Mapping[int, Block]) -> Message | None:
    said = tuple(block for _, block in sorted(blocks.items()))
    seen = any(block["type"] == "tool_use" or str(block.get("text", "")).strip() for block in said)
    return Message("assistant", said) if seen else None
