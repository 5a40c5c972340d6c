"""JSON from anywhere, read without a rule it could break: what is of another kind than expected is
empty. (`apis/common/body.py` is the strict reader, for requests that are to be obeyed.)"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pydantic_core import from_json

Fields = Mapping[str, object]

_MOST = 10**9
"""No count of tokens or bytes is near it, and a sum of billions of them still fits in SQLite's."""


def load(text: str | bytes) -> object:
    """The value, or None where there is none."""
    try:
        value: object = from_json(text)  # several times quicker, but refuses half characters
        return value
    except (ValueError, TypeError):
        return _load_slowly(text)


def _load_slowly(text: str | bytes) -> object:
    try:
        return json.loads(text.decode(errors="replace") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError):
        return None


def load_cut(text: str) -> object:
    """The value, also of JSON that was cut off; where it is no JSON, the text itself."""
    if (whole := load(text)) is not None:
        return whole
    try:
        cut: object = from_json(text, allow_partial=True)
    except (ValueError, TypeError):
        return text
    return cut


def fields(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def items(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def words(value: object) -> str:
    return value if isinstance(value, str) else ""


def count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 <= value < _MOST else 0
