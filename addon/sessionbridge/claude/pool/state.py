"""What a Claude process is doing, and what can become of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    STARTING = "starting"
    """Ahead of any turn."""
    SPARE = "spare"
    """Nothing has been said in its session."""
    BUSY = "busy"
    """A turn's, which may still have to wait for its start."""
    IDLE = "idle"
    """Waits for the next turn of its session."""
    WAITING = "waiting for tools"
    """In the middle of a turn that needs results of the client's tools."""
    ENDING = "ending"
    """Its session is not free until it has ended."""
    DEAD = "dead"


class Event(Enum):
    STARTED = "started"
    ACQUIRED = "acquired"
    """For a turn."""
    ANSWERED = "answered"
    """The turn has ended."""
    CALLED = "called tools"
    """The turn goes on with their results."""
    RETIRED = "retired"
    """It is to end."""
    ENDED = "ended"


_AFTER: Mapping[tuple[State, Event], State] = {
    (State.STARTING, Event.STARTED): State.SPARE,
    (State.STARTING, Event.ACQUIRED): State.BUSY,
    (State.STARTING, Event.RETIRED): State.ENDING,
    (State.STARTING, Event.ENDED): State.DEAD,  # the start came to nothing
    (State.SPARE, Event.ACQUIRED): State.BUSY,
    (State.SPARE, Event.RETIRED): State.ENDING,
    (State.BUSY, Event.ANSWERED): State.IDLE,
    (State.BUSY, Event.CALLED): State.WAITING,
    (State.BUSY, Event.RETIRED): State.ENDING,
    (State.IDLE, Event.ACQUIRED): State.BUSY,
    (State.IDLE, Event.RETIRED): State.ENDING,
    (State.WAITING, Event.ACQUIRED): State.BUSY,
    (State.WAITING, Event.RETIRED): State.ENDING,
    (State.ENDING, Event.ENDED): State.DEAD,
}


def after(state: State, event: Event) -> State:
    """Raises ValueError for what cannot happen to a process in this state."""
    try:
        return _AFTER[state, event]
    except KeyError:
        raise ValueError(f"A process that is {state.value} cannot be {event.value}.") from None
