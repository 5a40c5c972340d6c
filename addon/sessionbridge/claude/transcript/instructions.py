"""The instructions that are part of a conversation, beside its transcript, which has no place for
them; the database never holds a prompt.

One line for each turn that had some: the transcript entry it ended with, the texts, and of a thread
its system prompt and tools. Texts and thread are left out where they are those of the line before.
A point of any branch so leads to what held there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sessionbridge.claude.transcript import lines
from sessionbridge.model import Instructions, Thread, Tool

SUFFIX = ".instructions"

_NOTHING = Instructions()
_REPEATED = ("texts", "thread")


def keep(transcript: Path, entry: str, told: Instructions) -> None:
    """Nothing is written of a conversation without instructions. Raises OSError."""
    file = transcript.with_suffix(SUFFIX)
    if told != _NOTHING or file.exists():
        lines.add(file, {"entry": entry, **asdict(told)}, _REPEATED)


def kept(transcript: Path, entry: str) -> Instructions:
    """What held at this entry. Raises OSError."""
    found = _NOTHING
    for line in lines.read(transcript.with_suffix(SUFFIX), _REPEATED):
        if line["entry"] == entry:
            texts = tuple(map(str, line.get("texts", ())))
            found = Instructions(texts, _thread(line.get("thread")))
    return found


def _thread(value: Mapping[str, Any] | None) -> Thread | None:
    if value is None:
        return None
    return Thread(value["system"], tuple(Tool(**tool) for tool in value["tools"]))
