"""A dispatcher that plays the Claude CLI in memory, for tests of all that is in front of it.

Transcripts behave as the CLI's do: a session or entry it does not have is lost, a resume in place
destroys what came after the point it names, an aborted turn leaves its debris behind, and a session
id cannot be given twice.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from sessionbridge.claude.job import Job
from sessionbridge.errors import ClaudeFailed, SessionLost, ToolsLost
from sessionbridge.model import (
    Block,
    Delta,
    Dispatched,
    Finished,
    Instructions,
    KeptResponse,
    Message,
    Said,
    Spent,
    Started,
    TextDelta,
    ToolCall,
    ToolInput,
    Usage,
)

MODEL = "claude-scripted-1"
USAGE = Usage(10, 20, 30, 40)
COST = 0.25

Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    uuid: str
    message: Message


def said(role: str, text: str) -> Message:
    return Message("user" if role == "user" else "assistant", ({"type": "text", "text": text},))


def numbered(seen: Conversation) -> str:
    """Says how much it was shown, and repeats the last words."""
    return f"{len(seen)}: {seen[-1].blocks[-1].get('text', '')}"


class ScriptedDispatcher:
    """`seen` holds, for each job, the whole conversation the model was shown. An answer is a text,
    or a message that calls tools: `waiting_for_tools` are the sessions whose process waits then."""

    def __init__(self, answer: Callable[[Conversation], str | Message] = numbered) -> None:
        self.location = {"cwd": "work", "config_dir": "config"}
        self.answer = answer
        self.jobs: list[Job] = []
        self.prepared: list[Job] = []
        self.seen: list[Conversation] = []
        self.sessions: dict[str, list[Entry]] = {}
        self.instructed: dict[tuple[str, str], Instructions] = {}
        self.responses: dict[tuple[str, str], KeptResponse] = {}
        self.fails: Exception | None = None
        """Raised before the first delta."""
        self.breaks: Exception | None = None
        """Raised in the middle of the answer."""
        self.spends: Spent | None = None
        """What the model calls are known to have used, from the first delta on."""
        self.limits: tuple[tuple[str, str], ...] = ()
        self.gate: asyncio.Event | None = None
        """Waited for before each delta."""
        self.waiting = asyncio.Event()
        """Set whenever `gate` is waited for."""
        self.ended = 0
        self.waiting_for_tools: set[str] = set()
        self.refused: set[str] = set()
        self._busy: Counter[str] = Counter()
        self._numbers = count(1)

    def lose(self, session_id: str) -> None:
        del self.sessions[session_id]

    def refuse(self, session_id: str) -> None:
        """The CLI does not go on with it, though its file is there."""
        self.refused.add(session_id)

    async def prepare(self, job: Job) -> None:
        base = job.plan.base
        if base is not None and base.session_id not in self.sessions:
            raise SessionLost(f"no session {base.session_id}")
        self.prepared.append(job)

    async def discard(self, session_id: str) -> None:
        self.sessions.pop(session_id, None)

    async def said(self, session_id: str, upto: str, after: str | None) -> tuple[Message, ...]:
        entries = self._up_to(session_id, upto)
        places = [place for place, entry in enumerate(entries) if entry.uuid == after]
        return tuple(entry.message for entry in entries[places[0] + 1 if places else 0 :])

    async def instructions(self, session_id: str, entry: str) -> Instructions:
        return self.instructed.get((session_id, entry), Instructions())

    async def keep_instructions(self, session_id: str, entry: str, told: Instructions) -> None:
        self.instructed[session_id, entry] = told

    async def response(self, session_id: str, id_: str) -> KeptResponse | None:
        return self.responses.get((session_id, id_))

    async def keep_response(self, session_id: str, response: KeptResponse) -> None:
        self.responses[session_id, response.id] = response

    async def has_responses(self, session_id: str) -> bool:
        return any(session == session_id for session, _ in self.responses)

    async def forget_response(self, session_id: str, id_: str) -> None:
        del self.responses[session_id, id_]

    async def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        self.jobs.append(job)
        goes_on = self._goes_on(job)
        transcript = self._transcript(job)
        assert not self._busy[job.session_id], "two processes on one session"
        self._busy[job.session_id] += 1
        try:
            yield Dispatched(job.plan, job.session_id, job.command, "new")
            entries = [self._write(transcript, m) for m in (*job.plan.feed, job.plan.ask)]
            given = [None] if goes_on else entries
            seen = tuple(entry.message for entry in transcript)
            self.seen.append(seen)
            if self.fails is not None:
                raise self.fails
            told = self.answer(seen)
            answer = said("assistant", told) if isinstance(told, str) else told
            job.meter.connect(lambda: self.spends)
            async for delta in self._said(answer):
                yield delta
            calls = any(block["type"] == "tool_use" for block in answer.blocks)
            speaks = calls or any(str(block.get("text")).strip() for block in answer.blocks)
            last = self._write(transcript, answer) if speaks else None
            await self._pass_gate()
            if calls:
                self.waiting_for_tools.add(job.session_id)
            reason = "tool_use" if calls else "end_turn"
            end = Finished(job.session_id, (*given, last), reason, USAGE, COST)
            yield replace(end, limits=self.limits, results_entry=entries[-1])
        finally:
            # As a process does, it takes a moment to end, and is in the way until it has.
            await asyncio.sleep(0)
            self._busy[job.session_id] -= 1
            self.ended += 1

    async def _said(self, answer: Message) -> AsyncGenerator[Said]:
        await self._pass_gate()
        yield Started(f"msg_{next(self._numbers)}", MODEL, Usage(10, 1, 30, 40))
        for place, block in enumerate(answer.blocks):
            async for delta in self._block(place, block):
                yield delta

    async def _block(self, place: int, block: Block) -> AsyncGenerator[Said]:
        if block["type"] == "tool_use":
            yield ToolCall(place, block["id"], block["name"])
            yield ToolInput(place, json.dumps(block["input"]))
            return
        text = block["text"]
        half = len(text) // 2
        for part in (text[:half], text[half:]):
            await self._pass_gate()
            yield TextDelta(place, part)
            if self.breaks is not None:
                raise self.breaks

    def _goes_on(self, job: Job) -> bool:
        """As a process does, it takes the results of exactly its calls."""
        base = job.plan.base
        if base is None or not base.is_open:
            return False
        calls = self.sessions.get(base.session_id, [])[-1:]
        wanted = sorted(b["id"] for c in calls for b in c.message.blocks if b["type"] == "tool_use")
        given = sorted(str(block.get("tool_use_id")) for block in job.plan.ask.blocks)
        if base.session_id not in self.waiting_for_tools or wanted != given:
            raise ToolsLost("The process that waited for these tool results is gone.")
        self.waiting_for_tools.discard(base.session_id)
        return True

    async def _pass_gate(self) -> None:
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()

    def _transcript(self, job: Job) -> list[Entry]:
        base, resumes = job.plan.base, job.plan.name == "resume"
        if job.memory == "none":
            return []
        if job.memory == "continue":
            return self.sessions.setdefault("continued", [])
        if not resumes and job.session_id in self.sessions:
            raise ClaudeFailed("The session id is already in use.")
        if base and base.session_id in self.refused:
            raise SessionLost("The Claude CLI no longer goes on with this session.")
        entries = self._up_to(base.session_id, base.entry_uuid) if base else []
        self.sessions[job.session_id] = entries
        return entries

    def _up_to(self, session_id: str, entry_uuid: str) -> list[Entry]:
        known = self.sessions.get(session_id, [])
        for index, entry in enumerate(known):
            if entry.uuid == entry_uuid:
                return known[: index + 1]
        raise SessionLost("The Claude CLI no longer has this session.")

    def _write(self, transcript: list[Entry], message: Message) -> str:
        uuid = f"entry-{next(self._numbers)}"
        transcript.append(Entry(uuid, message))
        return uuid


def words(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Who said what, neighbours of one role together: what two equal conversations share."""
    told: list[tuple[str, str]] = []
    for message in messages:
        text = "|".join(str(block["text"]).strip() for block in message.blocks)
        if told and told[-1][0] == message.role:
            told[-1] = (message.role, f"{told[-1][1]}|{text}")
        else:
            told.append((message.role, text))
    return told
