"""What the Claude CLI tells the model by itself: where it runs, as which model, and what day it is.

It does so once, with the first message that it is asked in a session, and its transcript keeps that
as notes. Models before the 5.5 family get them within that message: where it brings the results of
tools, within the last of these. Where a transcript has the notes after its first message already,
the model gets them there, and the CLI does not repeat them (measured with 2.1.332).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

_KINDS = ("environment", "model", "date")
_MOST = 100
"""Transcripts that are looked at; each is read until its first answer."""

Note = Mapping[str, Any]


class Notes:
    """Those that are known, by model. They have to be the CLI's own to the letter, so they are read
    from transcripts that it has written."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Note, ...]] = {}

    def today(self, transcripts: Path, model: str) -> tuple[Note, ...]:
        """What the model of this name in the API is told in a session that begins now; empty while
        no transcript in the folder is by this model."""
        told = self._known.get(model) or _found(transcripts, model)
        if told:
            self._known[model] = told
        day = date.today().isoformat()
        return tuple({**note, "date": day} if note["type"] == "date" else note for note in told)


def _found(transcripts: Path, model: str) -> tuple[Note, ...]:
    for path in _newest(transcripts):
        with suppress(FileNotFoundError):
            found = {str(note["type"]): note for note in _told(path)}
            if found.keys() == {*_KINDS} and _is_by(found["model"], model):
                return tuple(found[kind] for kind in _KINDS)
    return ()


def _newest(transcripts: Path) -> list[Path]:
    dated = []
    for path in transcripts.glob("*.jsonl"):
        with suppress(FileNotFoundError):
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated, reverse=True)[:_MOST]]


def _told(transcript: Path) -> Iterator[Note]:
    with transcript.open("rb") as lines:
        for line in lines:
            if b'"type":"assistant"' in line:
                return
            with suppress(ValueError):  # a line that a killed CLI did not finish
                match json.loads(line):
                    case {"type": "attachment", "attachment": {"type": str(kind)} as note}:
                        if kind in _KINDS:
                            yield note


def _is_by(note: Note, model: str) -> bool:
    identity = note.get("identity")
    return isinstance(identity, Mapping) and identity.get("modelId") == model
