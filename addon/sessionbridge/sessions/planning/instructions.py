"""What of a conversation's instructions still holds in its next turn, where the history is kept
here and the request has only what is new. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sessionbridge.model import TurnRequest

_BETWEEN = "\n\n"
"""As within one request."""


def with_earlier(turn: TurnRequest, earlier: Sequence[str]) -> TurnRequest:
    """The turn under the instructions that held before it, too. Items add to them, a system prompt
    takes their place: an API without items has clients send it whole. What is said again is not
    told twice."""
    if turn.items is None:
        return turn if turn.system else replace(turn, system=_BETWEEN.join(earlier))
    own = _BETWEEN.join(turn.items)
    first = turn.system.removesuffix(own).removesuffix(_BETWEEN) if own else turn.system
    old = tuple(text for text in earlier if text not in (first, *turn.items))
    if not old:
        return turn
    texts = (*([first] if first else []), *old, *turn.items)
    return replace(turn, system=_BETWEEN.join(texts), items=(*old, *turn.items))


def of_conversation(turn: TurnRequest) -> tuple[str, ...]:
    """Those that hold in its next turn."""
    if turn.items is not None:
        return turn.items
    return (turn.system,) if turn.system else ()
