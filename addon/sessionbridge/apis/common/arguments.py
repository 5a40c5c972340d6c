"""The arguments of a call that was made: text that a model wrote, which need not be what was asked
for. A client sends it back each turn, so it is always taken, and always read the same way.
"""

from __future__ import annotations

import json
from typing import Any

from sessionbridge.apis.common.body import check_values

UNREADABLE = "arguments"
"""The one key of an input that holds the text as it stands."""


def read_arguments(text: str) -> dict[str, Any]:
    """The input of a call. Strict JSON means itself, and so does an object that was encoded twice
    or has bare line breaks in its strings; where a key is there twice the last counts. Nothing,
    blank or null, is a call without arguments. All else (cut off, a list, several values, NaN) is
    the text itself, under the key `arguments`."""
    try:
        value = _value(text)
        if isinstance(value, str):
            value = _value(value)
        check_values(value)
    except (ValueError, RecursionError):
        return {UNREADABLE: text}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {UNREADABLE: text}


def _value(text: str) -> Any:
    # Not strict: models leave line breaks in strings as they are.
    return json.loads(text, strict=False) if text.strip() else None
