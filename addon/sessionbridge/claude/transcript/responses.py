"""What a response has beside its words, for whoever asks for it by its id: a file beside the
transcript that has those. The database never holds a prompt, and these may.

One line for each response that is kept. The fields of its request that it repeats are left out
where they are those of the line before: tools are long, and the same from turn to turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sessionbridge.claude.transcript import lines
from sessionbridge.model import KeptResponse

SUFFIX = ".responses"

_LINK = "previous_response_id"
"""It is another one in each line."""

_REPEATED = ("asked",)


def keep(transcript: Path, response: KeptResponse) -> None:
    """Raises OSError."""
    line = asdict(response)
    previous = line["asked"].pop(_LINK, None)
    lines.add(transcript.with_suffix(SUFFIX), line | {_LINK: previous}, _REPEATED)


def forget(transcript: Path, id_: str) -> None:
    """Raises OSError."""
    lines.add(transcript.with_suffix(SUFFIX), {"id": id_, "deleted": True})


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
    return lines.read(transcript.with_suffix(SUFFIX), _REPEATED)
