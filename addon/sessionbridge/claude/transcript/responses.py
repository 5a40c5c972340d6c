"""What a response has beside its words, for whoever asks for it by its id: a file beside the
transcript that has those. The database never holds a prompt, and these may.

One line for each response that is kept. The fields of its request that it repeats are left out
where they are those of the line before: tools are long, and the same from turn to turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sessionbridge.disk import private
from sessionbridge.model import KeptResponse

SUFFIX = ".responses"

_LINK = "previous_response_id"
"""It is another one in each line."""


def keep(transcript: Path, response: KeptResponse) -> None:
    """Raises OSError."""
    *_, before = [{}, *_lines(transcript)]
    line = asdict(response)
    previous = line["asked"].pop(_LINK, None)
    if line["asked"] == before.get("asked"):
        del line["asked"]
    _add(transcript, line | {_LINK: previous})


def forget(transcript: Path, id_: str) -> None:
    """Raises OSError."""
    _add(transcript, {"id": id_, "deleted": True})


def kept(transcript: Path, id_: str) -> KeptResponse | None:
    """The one with this id; None where it is not kept. Raises OSError."""
    found = None
    for line in _lines(transcript):
        if line["id"] == id_:
            found = line
    if found is None or "deleted" in found:
        return None
    asked, answer = found["asked"], found["answer"]
    link = {} if found[_LINK] is None else {_LINK: found[_LINK]}
    return KeptResponse(
        id=id_,
        asked={**asked, **link},
        inputs=found["inputs"],
        answer=None if answer is None else tuple(answer),
        thinking_tokens=found["thinking_tokens"],
    )


def are_kept(transcript: Path) -> bool:
    """Whether there is any. Raises OSError."""
    known = {line["id"]: "deleted" not in line for line in _lines(transcript)}
    return any(known.values())


def _lines(transcript: Path) -> Iterator[Mapping[str, Any]]:
    """Those that are whole, each with the fields that it has from the one before."""
    try:
        content = transcript.with_suffix(SUFFIX).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    asked: Any = None
    for text in content.split("\n"):
        line = _value(text)
        if "id" in line:
            asked = line.get("asked", asked)
            yield {**line, "asked": asked}


def _value(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else None
    except ValueError:  # a line that was cut short with its process
        return {}
    return value if isinstance(value, dict) else {}


def _add(transcript: Path, line: Mapping[str, Any]) -> None:
    with open(transcript.with_suffix(SUFFIX), "a", encoding="utf-8", opener=private) as file:
        # A line before it may have been cut short.
        file.write(f"\n{json.dumps(line)}\n")
