"""What can become of a process, state by state."""

from __future__ import annotations

from itertools import product

import pytest

from sessionbridge.claude.pool.state import Event, State, after

TABLE = {
    State.STARTING: {
        Event.STARTED: State.SPARE,
        Event.ACQUIRED: State.BUSY,
        Event.RETIRED: State.ENDING,
        Event.ENDED: State.DEAD,
    },
    State.SPARE: {Event.ACQUIRED: State.BUSY, Event.RETIRED: State.ENDING},
    State.BUSY: {
        Event.ANSWERED: State.IDLE,
        Event.CALLED: State.WAITING,
        Event.RETIRED: State.ENDING,
    },
    State.IDLE: {Event.ACQUIRED: State.BUSY, Event.RETIRED: State.ENDING},
    State.WAITING: {Event.ACQUIRED: State.BUSY, Event.RETIRED: State.ENDING},
    State.ENDING: {Event.ENDED: State.DEAD},
    State.DEAD: {},
}


@pytest.mark.parametrize(
    ("state", "event"), list(product(State, Event)), ids=lambda it: it.name.lower()
)
def test_a_process_goes_from_state_to_state(state: State, event: Event) -> None:
    if event in TABLE[state]:
        assert after(state, event) is TABLE[state][event]
    else:
        with pytest.raises(ValueError, match=f"{state.value} cannot be {event.value}"):
            after(state, event)


def test_every_process_can_end() -> None:
    """Whatever it does, it is retired at most once, and then dead."""
    for state in State:
        steps = 0
        while state is not State.DEAD:
            event = Event.RETIRED if Event.RETIRED in TABLE[state] else Event.ENDED
            state = after(state, event)
            steps += 1
        assert steps <= 2
