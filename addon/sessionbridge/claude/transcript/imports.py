"""Imports a conversation as a file: writes the transcript that the CLI resumes a session from.

It takes no longer however long the conversation is, where feeding takes 10 to 25 ms for each pair.
And it is the way out should a CLI no longer understand feeding, which is as undocumented; what the
CLI must do for either is held by tests/claude/test_feed_conformance.py and test_claude_imports.py.

The seven fields of an entry suffice, and role and content of its message: it is what the CLI
writes itself for messages that are fed (measured with 2.1.330).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sessionbridge.claude.transcript.notes import Note
from sessionbridge.disk import private, write_whole
from sessionbridge.model import Message

LONG = 10
"""Messages. With fewer, feeding a process that has just been started is as quick (measured
with 2.1.332)."""

LONG_FOR_A_SPARE = 40
"""Messages. Feeding as many to a process that is there takes as long as starting one (measured
with 2.1.332)."""


_THOUGHTS = ("thinking", "redacted_thinking")


class TranscriptFile(NamedTuple):
    """The transcript of the session that the file is named after; `model` is the one that session
    has, by its name in the API."""

    path: Path
    cwd: Path
    model: str


class Written(NamedTuple):
    """The entries of a transcript's messages, and the last of all, where the session goes on."""

    entries: tuple[str, ...]
    tip: str


def writable(messages: Sequence[Message], notes: Sequence[Note] = ()) -> int:
    """How many of these a transcript can hold: up to the last answer that ends in text, or the
    first message alone with the notes that follow it.

    The CLI touches any other end: it answers an open `tool_use` ("Tool call interrupted …") and
    adds "No response requested." to a `tool_result` (measured with 2.1.332).
    """
    for count in range(len(messages), 0, -1):
        message = messages[count - 1]
        if message.role == "assistant" and message.blocks[-1].get("type") == "text":
            return count
    return 1 if notes and messages and messages[0].role == "user" else 0


def write(file: TranscriptFile, messages: Sequence[Message], notes: Sequence[Note] = ()) -> Written:
    """Writes the file whole or not at all, and for its owner only."""
    lines: list[dict[str, Any]] = []
    for told in _told(messages, notes, file.model):
        before = lines[-1]["uuid"] if lines else None
        lines.append(_line(file, told, str(uuid4()), before))
    write_whole(file.path, b"".join(map(_json, lines)))
    entries = tuple(line["uuid"] for line in lines if line["type"] != "attachment")
    return Written(entries, lines[-1]["uuid"])


def complete(file: TranscriptFile, said: Sequence[tuple[str, Message]], base: str | None) -> None:
    """Adds what the transcript of a CLI that was ended lacks of its last turn: entries with their
    messages, which follow the entry `base`."""
    path = file.path
    content = path.read_bytes() if path.exists() else b""
    missing = [number for number, (entry, _) in enumerate(said) if entry.encode() not in content]
    if not missing:
        return
    entries = [entry for entry, _ in said]
    before = (base, *entries)
    lines = [
        _line(file, _speaking(said[number][1], file.model), entries[number], before[number])
        for number in range(missing[0], len(said))
    ]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "ab", opener=private) as added:
        # The CLI may have been ended in the middle of a line.
        added.write(b"\n" if content and not content.endswith(b"\n") else b"")
        added.write(b"".join(map(_json, lines)))


def holds_thoughts(message: Message) -> bool:
    return any(block.get("type") in _THOUGHTS for block in message.blocks)


def content_of(message: Message, model: str) -> dict[str, Any]:
    """A message as the CLI takes it. What was thought it leaves out unless the message is by the
    model that the session has, by its name in the API (measured with 2.1.330)."""
    said = {"role": message.role, "content": [dict(block) for block in message.blocks]}
    return {**said, "model": model} if holds_thoughts(message) else said


def _told(
    messages: Sequence[Message], notes: Sequence[Note], model: str
) -> Iterator[Mapping[str, Any]]:
    for number, message in enumerate(messages):
        yield _speaking(message, model)
        if number == 0 and message.role == "user":
            yield from ({"type": "attachment", "attachment": note} for note in notes)


def _speaking(message: Message, model: str) -> Mapping[str, Any]:
    return {"type": message.role, "message": content_of(message, model)}


def _line(
    file: TranscriptFile, told: Mapping[str, Any], entry: str, before: str | None
) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "parentUuid": before,
        "uuid": entry,
        **told,
        "timestamp": now.replace("+00:00", "Z"),
        "cwd": str(file.cwd),
        "sessionId": file.path.stem,
    }


def _json(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"
