"""Names that a request brings, as they may stand in a sentence, a header or a log: plain, of one
line, short and few. What is no plain name could be anything, a prompt among it, and stays unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_MODEL = re.compile(r"[\w.:/@+\[\]-]{1,200}", re.A)
_CONVERSATION = re.compile(r"conv_sb[0-9a-f]{32}([0-9a-f]{8})?")
_MOST = 20
_LONGEST = 100


def is_plain(word: str) -> bool:
    return _PLAIN.fullmatch(word) is not None


def is_model(word: str) -> bool:
    """Whether it could be the name of a model, as a cloud or a gateway writes it."""
    return _MODEL.fullmatch(word) is not None


def is_conversation(word: str) -> bool:
    """Whether it is the id of a conversation that a client has created here."""
    return _CONVERSATION.fullmatch(word) is not None


def shown(word: str) -> str:
    """In quotes, where it can only be a name."""
    return repr(word) if is_plain(word) else "this value"


def few(names: Iterable[str]) -> tuple[str, ...]:
    """The first of them, and how many more there are."""
    told = tuple(names)
    more = len(told) - _MOST
    return (*told[:_MOST], f"({more} more)") if more > 0 else told


def printable(word: str) -> str:
    """Of a name that is not the client's to choose freely, such as a host's."""
    return "".join(filter(str.isprintable, word[:_LONGEST]))
