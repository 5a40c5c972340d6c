"""What of a conversation's instructions still holds in its next turn, where the history is kept
here and the request has only what is new. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sessionbridge.errors import ThreadMismatch
from sessionbridge.model import Instructions, Thread, ThreadTurn, TurnRequest

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


def in_thread(turn: TurnRequest, asked: ThreadTurn, thread: Thread) -> TurnRequest:
    """The turn with the tools of its thread. Raises `ThreadMismatch` where what it says again of
    the thread is something else."""
    said = {"system": (asked.system, thread.system), "tools": (asked.tools, thread.tools)}
    if others := [name for name, (now, then) in said.items() if now not in (None, then)]:
        names = " and ".join(others)
        raise ThreadMismatch(
            f"{names}: not what the thread was created with; leave it out, or send the whole "
            'conversation with thread: {"type": "create"}.',
            param=others[0],
        )
    tools = thread.tools if asked.calls else ()
    return replace(
        turn,
        parameters=replace(turn.parameters, tools=tools),
        thread=replace(asked, system=thread.system, tools=thread.tools),
    )


def of_conversation(turn: TurnRequest) -> Instructions:
    """Those that hold in its next turn."""
    asked = turn.thread
    thread = None if asked is None else Thread(asked.system or "", asked.tools or ())
    if turn.items is not None:
        return Instructions(turn.items, thread)
    return Instructions((turn.system,) if turn.system else (), thread)
