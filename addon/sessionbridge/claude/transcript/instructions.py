"""The instructions that are part of a conversation, beside its transcript, which has no place for
them; the database never holds a prompt.

One line for each turn that had some: the transcript entry it ended with, the texts, and of a thread
its system prompt and tools. Texts and thread are left out where they are those of the line before.
A point of any branch so leads to what held there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sessionbridge.disk import private
from sessionbridge.model import Instructions, Thread, Tool

SUFFIX = ".instructions"

_NOTHING = Instructions()


def keep(transcript: Path, entry: str, told: Instructions) -> None:
    """Nothing is written of a conversation without instructions. Raises OSError."""
    *_, (_, before) = [("", _NOTHING), *_lines(transcript)]
    if told == before == _NOTHING:
        return
    line: dict[str, Any] = {"entry": entry}
    if told.texts != before.texts:
        line["texts"] = told.texts
    if told.thread != before.thread:
        line["thread"] = None if told.thread is None else asdict(told.thread)
    with open(transcript.with_suffix(SUFFIX), "a", encoding="utf-8", opener=private) as file:
        # A line before it may have been cut short with its process.
        file.write(f"\n{json.dumps(line)}\n")


def kept(transcript: Path, entry: str) -> Instructions:
    """What held at this entry. Raises OSError."""
    found = _NOTHING
    for place, told in _lines(transcript):
        found = told if place == entry else found
    return found


def _lines(transcript: Path) -> Iterator[tuple[str, Instructions]]:
    try:
        content = transcript.with_suffix(SUFFIX).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    told = _NOTHING
    for line in content.split("\n"):
        match _value(line):
            case {"entry": str(entry)} as news:
                texts = tuple(map(str, news.get("texts", told.texts)))
                thread = _thread(news["thread"]) if "thread" in news else told.thread
                told = Instructions(texts, thread)
                yield entry, told


def _thread(value: Mapping[str, Any] | None) -> Thread | None:
    if value is None:
        return None
    return Thread(value["system"], tuple(Tool(**tool) for tool in value["tools"]))


def _value(line: str) -> Any:
    try:
        return json.loads(line) if line else None
    except ValueError:
        return None
