"""Ids of answers that clients come back with. They tell by themselves that they were made here: no
look-up decides what passes on to the API, so nobody can learn from one which ids there are.
"""

from __future__ import annotations

import re

_MARK = "sb"
_OF_BEFORE = re.compile(r"resp_(?:[a-z]+_)?01[0-9A-Za-z]{22}")
"""Of responses that were given before ids had the mark: that of the Messages API's answer in the
place of OpenAI's, which are twice as long."""


def made(kind: str, message_id: str) -> str:
    """An id of this kind (`resp`, `msg`) for the answer with this id in the Messages API."""
    return f"{kind}_{_MARK}{message_id.removeprefix('msg_')}"


def is_made_here(id_: str) -> bool:
    """Whether `made` has made it. Whoever was given it, and whether it is known still, is not
    looked at."""
    kind, _, tail = id_.partition("_")
    marked = bool(kind) and tail.startswith(_MARK) and tail.isascii()
    return marked or bool(_OF_BEFORE.fullmatch(id_))


def message_id(kind: str, id_: str) -> str | None:
    """The id in the Messages API that one of this kind was made of; None for an id of others."""
    tail = id_.removeprefix(f"{kind}_")
    if tail == id_ or not tail or not tail.isascii():  # what is broken could not be looked up
        return None
    return f"msg_{tail.removeprefix(_MARK)}"
