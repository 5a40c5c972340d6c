"""Server-sent events, without knowing whose
(https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).

Everything is ASCII: JSON's escapes keep U+2028 and U+0085 out, at which some clients split lines
(`str.splitlines`), and spell a lone surrogate that a model's text was cut into.
"""

from __future__ import annotations

import json
import re
from typing import Any

CONTENT_TYPE = "text/event-stream; charset=utf-8"

_LINE_END = re.compile(r"\r\n|\r|\n")


def json_event(data: Any, name: str | None = None) -> bytes:
    return event(json.dumps(data, allow_nan=False), name)


def event(data: str, name: str | None = None) -> bytes:
    """One event. A client joins several `data` lines with a line feed."""
    if name is not None and _LINE_END.search(name):
        raise ValueError("the name of an event must be one line")
    head = [f"event: {name}"] if name else []
    return _block([*head, *(f"data: {line}" for line in _LINE_END.split(data))])


def comment(text: str = "") -> bytes:
    """A line clients ignore, which keeps proxies from closing a silent connection."""
    return _block([f": {line}".rstrip() for line in _LINE_END.split(text)])


def _block(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n\n").encode()
