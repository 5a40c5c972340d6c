"""A response that goes on without its client, as whoever asks for it is told
(https://platform.openai.com/docs/guides/background): all of its events, and the document."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

from sessionbridge.apis.common import sse
from sessionbridge.apis.openai_responses.answer import Events
from sessionbridge.apis.openai_responses.output import Event
from sessionbridge.errors import BridgeError
from sessionbridge.model import Delta, Started, TurnRequest

Status = Literal["queued", "in_progress"]


class EventLog:
    """`events` are those so far, as they are streamed, and `size` their bytes: the number of each
    is its place. The answer has this `message_id`, which is known before the model has begun."""

    def __init__(
        self, turn: TurnRequest, message_id: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.events: list[bytes] = []
        self.size = 0
        self.message_id = message_id
        self._told = Events(turn, clock)
        self._status: Status = "queued"
        self._last: dict[str, Any] | None = None
        self._add(self._told.queued(message_id))

    @property
    def document(self) -> dict[str, Any]:
        return self._told.document(self._status) if self._last is None else self._last

    def hear(self, delta: Delta) -> None:
        if isinstance(delta, Started):
            delta = replace(delta, message_id=self.message_id)
            self._status = "in_progress"
        self._add(self._told.of(delta))

    def fail(self, error: BridgeError) -> None:
        self._add([self._told.error(error), self._told.failed(error)])

    def cancel(self) -> None:
        self._add([self._told.cancelled()])

    def _add(self, events: Iterable[Event]) -> None:
        for event in events:
            data = sse.json_event(event, event["type"])
            self.events.append(data)
            self.size += len(data)
            if event["type"] in _ENDS:
                self._last = event["response"]


_ENDS = {"response.completed", "response.incomplete", "response.failed"}
