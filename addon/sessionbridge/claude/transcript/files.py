"""What the CLI's transcript files tell: what was said, and what a session has cost.

A transcript holds one JSON entry a line. The CLI restores its running cost from the last
`cost-state` entry (measured with 2.1.332).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from sessionbridge.claude.profile import transcripts_folder
from sessionbridge.claude.transcript.conversations import SUFFIX as CONVERSATION
from sessionbridge.claude.transcript.conversations import forget_deleted
from sessionbridge.claude.transcript.instructions import SUFFIX as INSTRUCTIONS
from sessionbridge.claude.transcript.responses import SUFFIX as RESPONSES
from sessionbridge.disk import private
from sessionbridge.errors import SessionLost
from sessionbridge.model import Message

Version = tuple[int, ...]

_ABSENT = (FileNotFoundError, NotADirectoryError)

_BESIDE = (INSTRUCTIONS, RESPONSES, CONVERSATION, ".turns", "")
"""The last of them is the file that is in the place of the session's folder."""

_TAIL = 256 * 1024
"""Bytes."""


def folder_of(transcript: Path) -> Path:
    """Where the CLI keeps what belongs to a session; of ours, it is an empty file or is not."""
    return transcript.with_suffix("")


def delete(transcript: Path) -> None:
    """With what is beside it; what is not there is none to delete. Raises OSError."""
    for file in (transcript, *map(transcript.with_suffix, _BESIDE)):
        if file.is_file():
            file.unlink(missing_ok=True)
    forget_deleted()


def newest_transcript(config: Path, cwd: Path) -> Path | None:
    """The session `--continue` would go on with."""
    found = transcripts_folder(config, cwd).glob("*.jsonl")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def version(transcript: Path) -> Version | None:
    """Tells whether a file is the same and as long as before; None where there is none."""
    try:
        status = transcript.stat()
    except _ABSENT:
        return None
    return status.st_dev, status.st_ino, status.st_size


def has_entry(transcript: Path, entry: str) -> bool:
    """Looked for at the end first, where the newest are: a transcript may hold megabytes."""
    try:
        with transcript.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            if entry.encode() in file.read():
                return True
            file.seek(0)
            return entry.encode() in file.read()
    except _ABSENT:
        return False


def holds(transcript: Path, entry: str, after: str | None) -> bool:
    """Whether an entry is there with all that it follows, back to the entry `after` or to the
    beginning: of what is written while the disk is full some may be missing."""
    try:
        with transcript.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            if after is not None and is_whole(file.read(), entry, after):
                return True
            file.seek(0)
            return is_whole(file.read(), entry, after)
    except _ABSENT:
        return False


def is_whole(content: bytes, entry: str, after: str | None) -> bool:
    """The same of lines of a transcript, in which each entry stands behind the one it follows."""
    wanted = entry
    for line in reversed(content.splitlines()):
        if wanted.encode() not in line or (told := _entry(line)).get("uuid") != wanted:
            continue
        if (parent := told.get("parentUuid")) in (None, after):
            return True
        wanted = parent
    return False


def lead_to(transcript: Path, entry: str) -> None:
    """Has the CLI find this entry, where it was ended in an orderly way by others at an answer that
    nobody has: it notes the last entry it has in a `last-prompt` line, and later goes on from none
    that the line of that one does not hold (measured with 2.1.332)."""
    try:
        content = transcript.read_bytes()
    except _ABSENT:
        return
    if line := line_to(content, entry):
        with open(transcript, "ab", opener=private) as file:
            file.write(line)


def line_to(content: bytes, entry: str) -> bytes:
    """The line to be added to a transcript, so that the CLI goes on from this entry; empty where it
    does so anyway, and where the entry is not there."""
    leaf = _last(content, b'"last-prompt"', "last-prompt").get("leafUuid")
    if leaf in (None, entry):
        return b""
    lines = [_entry(line) for line in content.splitlines()]
    parents = {line["uuid"]: line.get("parentUuid") for line in lines if "uuid" in line}
    while leaf is not None and leaf != entry:
        leaf = parents.get(leaf)
    if leaf == entry or entry not in parents:
        return b""
    # The CLI may have been ended in the middle of a line.
    begun = b"" if content.endswith(b"\n") else b"\n"
    session = next((line["sessionId"] for line in lines if "sessionId" in line), None)
    note = {"type": "last-prompt", "leafUuid": entry, "sessionId": session}
    return begun + json.dumps(note, separators=(",", ":")).encode() + b"\n"


def said(transcript: Path, upto: str, after: str | None) -> tuple[Message, ...]:
    """The messages that end in the entry `upto` and follow the entry `after`, or the beginning.
    Raises `SessionLost` where they are not all there."""
    try:
        entries = _entries(transcript, version(transcript))
    except _ABSENT as error:
        raise SessionLost("The transcript of this Claude session is gone.") from error
    told: set[str] = set()
    entry: str | None = upto
    while entry is not None and entry != after:
        if entry not in entries:
            raise SessionLost("The transcript of this Claude session no longer has this entry.")
        told.add(entry)
        entry = entries[entry].get("parentUuid")
    # Of several calls and their results, which hang on them, only some are in the line. What hangs
    # on the last message is none of it: that was said later.
    last = _message_id(entries[upto]) if upto in entries else None
    answers = {_message_id(entries[uuid]) for uuid in told} - {None}
    told |= {uuid for uuid, entry in entries.items() if _message_id(entry) in answers}
    called = {uuid for uuid in told if uuid != upto and _message_id(entries[uuid]) != last}
    told |= {uuid for uuid, entry in entries.items() if _is_result(entry, called)}
    spoken = [entry for uuid, entry in entries.items() if uuid in told and _speaks(entry)]
    return tuple(map(_message, spoken))


@lru_cache(maxsize=2)  # whoever looks at a conversation asks for one turn after another
def _entries(transcript: Path, _: Version | None) -> Mapping[str, Mapping[str, Any]]:
    """Those with an id, by it; of another `version` of the file they are others."""
    lines = transcript.read_bytes().splitlines()
    return {entry["uuid"]: entry for entry in map(_entry, lines) if "uuid" in entry}


def _entry(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:  # a line that a killed CLI did not finish
        return {}
    return entry if isinstance(entry, dict) else {}


def _speaks(entry: Mapping[str, Any]) -> bool:
    return entry.get("type") in ("user", "assistant") and not entry.get("isMeta")


def _message_id(entry: Mapping[str, Any]) -> str | None:
    """The model's own, which all entries of one message share; the other entries have none."""
    return entry["message"].get("id") if entry.get("type") == "assistant" else None


def _is_result(entry: Mapping[str, Any], called: set[str]) -> bool:
    if entry.get("parentUuid") not in called or entry.get("type") != "user":
        return False
    content = entry["message"]["content"]
    return isinstance(content, list) and any(b.get("type") == "tool_result" for b in content)


def _message(entry: Mapping[str, Any]) -> Message:
    content = entry["message"]["content"]
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return Message(entry["type"], tuple(content))


def cost_at(transcript: Path, entry: str) -> float:
    """`cost_so_far` of a session that is to go on from an entry. Raises `SessionLost` where the
    transcript, its beginning or the entry is gone: cheaper to find out than by a CLI that fails to
    start, or one that goes on with what is left (a process that outlives its transcript writes a
    new one, of what it hears from then on)."""
    try:
        content = transcript.read_bytes()
    except _ABSENT as error:
        raise SessionLost("The transcript of this Claude session is gone.") from error
    if not is_whole(content, entry, None):
        raise SessionLost("The transcript of this Claude session no longer has this entry.")
    return _last_cost(content)


def cost_so_far(transcript: Path | None) -> float:
    """US dollars a session had cost when its process last ended; 0.0 where nothing says so.

    `total_cost_usd` runs over a whole session and a fork starts from its parent's, so a turn's own
    cost is the difference to this.
    """
    if transcript is None or not transcript.exists():
        return 0.0
    return _last_cost(transcript.read_bytes())


def _last_cost(content: bytes) -> float:
    return float(_last(content, b'"cost-state"', "cost-state").get("totalCostUSD") or 0.0)


def _last(content: bytes, mark: bytes, kind: str) -> dict[str, Any]:
    """The last entry of this kind, found by its mark; empty where there is none."""
    end = len(content)
    while (found := content.rfind(mark, 0, end)) >= 0:
        end = content.rfind(b"\n", 0, found) + 1
        entry = _entry(content[end:].partition(b"\n")[0])
        if entry.get("type") == kind:
            return entry
    return {}
