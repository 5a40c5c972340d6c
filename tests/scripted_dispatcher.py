"""A dispatcher that plays the Claude CLI in memory, for tests of all that is in front of it.

Transcripts behave as the CLI's do: a session or entry it does not have is lost, a resume in place
destroys what came after the point it names, an aborted turn leaves its debris behind, and a session
id cannot be given twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from itertools import count

from sessionbridge.claude.job import Job
from sessionbridge.errors import ClaudeFailed, SessionLost
from sessionbridge.turn import Delta, Dispatched, Finished, Message, Started, TextDelta, Usage

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
    """`seen` holds, for each job, the whole conversation the model was shown."""

    def __init__(self, answer: Callable[[Conversation], str] = numbered) -> None:
        self.place = {"cwd": "work", "config_dir": "config"}
        self.answer = answer
        self.jobs: list[Job] = []
        self.seen: list[Conversation] = []
        self.sessions: dict[str, list[Entry]] = {}
        self.fails: Exception | None = None
        """Raised before the first delta."""
        self.breaks: Exception | None = None
        """Raised in the middle of the answer."""
        self.gate: asyncio.Event | None = None
        """Waited for before each delta."""
        self.waiting = asyncio.Event()
        """Set whenever `gate` is waited for."""
        self.ended = 0
        self._busy: Counter[str] = Counter()
        self._numbers = count(1)

    def knows(self, model: str) -> bool:
        return model.startswith("claude-")

    def lose(self, internal_id: str) -> None:
        del self.sessions[internal_id]

    async def discard(self, internal_id: str) -> None:
        self.sessions.pop(internal_id, None)

    async def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        self.jobs.append(job)
        transcript = self._transcript(job)
        assert not self._busy[job.session_id], "two processes on one session"
        self._busy[job.session_id] += 1
        try:
            yield Dispatched(job.plan, job.session_id, job.command, "new")
            given = [self._write(transcript, m) for m in (*job.plan.feed, job.plan.ask)]
            seen = tuple(entry.message for entry in transcript)
            self.seen.append(seen)
            if self.fails is not None:
                raise self.fails
            text = self.answer(seen)
            async for delta in self._said(text):
                yield delta
            entries = (*given, self._write(transcript, said("assistant", text)))
            await self._pass_gate()
            yield Finished(job.session_id, entries, "end_turn", USAGE, COST)
        finally:
            # As a process does, it takes a moment to end, and is in the way until it has.
            await asyncio.sleep(0)
            self._busy[job.session_id] -= 1
            self.ended += 1

    async def _said(self, text: str) -> AsyncGenerator[Started | TextDelta]:
        await self._pass_gate()
        yield Started(f"msg_{next(self._numbers)}", MODEL, Usage(10, 1, 30, 40))
        half = len(text) // 2
        for part in (text[:half], text[half:]):
            await self._pass_gate()
            yield TextDelta(0, part)
            if self.breaks is not None:
                raise self.breaks

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
        entries = self._up_to(base.internal_id, base.entry_uuid) if base else []
        self.sessions[job.session_id] = entries
        return entries

    def _up_to(self, internal_id: str, entry_uuid: str) -> list[Entry]:
        known = self.sessions.get(internal_id, [])
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
