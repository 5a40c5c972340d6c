"""The instructions that are part of a conversation, beside its transcript, which has no place for
them; the database never holds a prompt.

One line for each turn that had some: the transcript entry it ended with and the texts, which are
left out where they are those of the line before. A point of any branch so leads to what held there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sessionbridge.disk import private

Texts = tuple[str, ...]

SUFFIX = ".instructions"


def keep(transcript: Path, entry: str, texts: Texts) -> None:
    """Nothing is written of a conversation without instructions. Raises OSError."""
    *_, (_, before) = [("", ()), *_lines(transcript)]
    if not (texts or before):
        return
    line = {"entry": entry} if texts == before else {"entry": entry, "texts": texts}
    with open(transcript.with_suffix(SUFFIX), "a", encoding="utf-8", opener=private) as file:
        # A line before it may have been cut short with its process.
        file.write(f"\n{json.dumps(line)}\n")


def kept(transcript: Path, entry: str) -> Texts:
    """What held at this entry. Raises OSError."""
    found: Texts = ()
    for place, texts in _lines(transcript):
        found = texts if place == entry else found
    return found


def _lines(transcript: Path) -> Iterator[tuple[str, Texts]]:
    try:
        content = transcript.with_suffix(SUFFIX).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    texts: Texts = ()
    for line in content.split("\n"):
        match _value(line):
            case {"entry": str(entry), "texts": list(told)}:
                texts = tuple(map(str, told))
                yield entry, texts
            case {"entry": str(entry)}:
                yield entry, texts


def _value(line: str) -> object:
    try:
        return json.loads(line) if line else None
    except ValueError:
        return None
