"""Calls and their results, held together: the API behind the CLI refuses one without the other
(https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use), and the CLI would
mend the conversation unasked, by dropping the one or making up the other (2.1 also drops a call
whose id any earlier one has).

Neighbouring messages of one role count as one message, as they do there. A result may come without
its call only where the request shows no answer before it: then the history is kept here, and the
call is in it. Nor is anything known of the calls behind an `item_reference`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sessionbridge.apis.body import refused, shown
from sessionbridge.turn import Block, Role


class CallWords(NamedTuple):
    """An API's own sentences for calls without a result and for a result without its call; `{}` is
    where the ids stand."""

    unanswered: str
    uncalled: str


class Calls:
    """Takes the messages in order, and raises `BadRequest` where they break a rule.

    `field` is where a message stands in the request.
    """

    def __init__(self, words: CallWords) -> None:
        self._words = words
        self._role: Role | None = None
        self._spoken = False
        self._ids: set[str] = set()
        self._open: dict[str, None] = {}  # for its order
        self._open_field = ""
        self._results: set[str] = set()
        self._said_more = False
        self._referred = False

    def add(self, role: Role, blocks: Iterable[Block], field: str) -> None:
        if role != self._role:
            self._role, self._results, self._said_more = role, set(), False
            if role == "assistant":
                self.end()
        self._spoken = self._spoken or role == "assistant"
        for block in blocks:
            if block["type"] == "item_reference":
                self._referred = True
            elif block["type"] == "tool_use":
                self._call(block["id"], field)
            elif block["type"] == "tool_result":
                self._result(block["tool_use_id"], field)
            elif role == "user":
                self.end()
                self._said_more = True

    def end(self) -> None:
        """Calls that are open now stay without a result."""
        if self._open:
            ids = ", ".join(map(shown, self._open))
            raise refused(self._open_field, self._words.unanswered.format(ids))

    def _call(self, id_: str, field: str) -> None:
        if id_ in self._ids:
            raise refused(field, f"the ids of calls must be unique, and {shown(id_)} is not")
        self._ids.add(id_)
        self._open[id_] = None
        self._open_field = field

    def _result(self, id_: str, field: str) -> None:
        if self._said_more:
            raise refused(field, "results of calls must come before all else the user says")
        if id_ in self._results:
            raise refused(field, f"a call must have one result, and {shown(id_)} has more")
        if id_ in self._open:
            del self._open[id_]
        elif self._spoken and not self._referred:
            raise refused(field, self._words.uncalled.format(shown(id_)))
        self._results.add(id_)
