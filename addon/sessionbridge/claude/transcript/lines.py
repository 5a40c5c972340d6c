"""Files beside transcripts of one JSON object a line, to which lines are only added.

Some fields are long, and mostly the same from line to line. Where they are those of the line before
they are left out, and each line has digests of what they are: so whoever adds one reads the last
line alone, however long the file is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from sessionbridge.disk import private

_DIGESTS = "digests"
_TAIL = 64 * 1024
"""Bytes."""


def add(path: Path, line: Mapping[str, Any], repeated: Collection[str] = ()) -> None:
    """`repeated` are the fields that may be left out. Raises OSError."""
    before = _last(path).get(_DIGESTS, {})
    digests = {**before, **{name: _digest(line[name]) for name in repeated}}
    same = {name for name in repeated if digests[name] == before.get(name)}
    news = {name: value for name, value in line.items() if name not in same}
    with open(path, "a", encoding="utf-8", opener=private) as file:
        # A line before it may have been cut short with its process.
        file.write(f"\n{json.dumps({**news, _DIGESTS: digests})}\n")


def read(path: Path, repeated: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """Those that are whole, with what they have from the lines before. Raises OSError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    held: dict[str, Any] = {}
    for line in map(_value, content.splitlines()):
        if line:
            held |= {name: line[name] for name in repeated if name in line}
            yield held | line


def _last(path: Path) -> dict[str, Any]:
    """The last one that is whole; empty where there is none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return {}
    with file:
        start, size = file.seek(0, os.SEEK_END), _TAIL
        end = start
        while start:
            start = max(0, end - size)
            file.seek(start)
            found = file.read(end - start).splitlines()
            whole = found[1:] if start else found
            for line in map(_value, reversed(whole)):
                if line:
                    return line
            size *= 4
    return {}


def _value(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line) if line else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
