"""Which call a result answers.

Calls have ids that many clients do not send back, the official one for Python among them (0.6.3).
So those without are numbered, and a result that names no call answers the oldest that is open of
its tool's name, or the oldest of all.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple


class _Call(NamedTuple):
    id: str
    name: str


class OpenCalls:
    """Those of the assistant's last message that have no result yet."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._open: list[_Call] = []

    def clear(self) -> None:
        """Another message of the assistant's begins."""
        self._open = []

    def add(self, id_: str | None, name: str) -> str:
        """Returns the id that the call has from now on."""
        call = _Call(id_ or f"call_{next(self._numbers)}", name)
        self._open.append(call)
        return call.id

    def answered(self, id_: str | None, name: str | None) -> str | None:
        """The id of the call that a result is for; None where none is open."""
        if id_:
            self._open = [call for call in self._open if call.id != id_]
            return id_
        if not self._open:
            return None
        call = next((call for call in self._open if call.name == name), self._open[0])
        self._open.remove(call)
        return call.id
