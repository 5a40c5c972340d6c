"""One bridged request as the addon, the gateway and the bridge know it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from sessionbridge.turn import (
    Attempt,
    Delta,
    Dispatched,
    Finished,
    Origin,
    Plan,
    Process,
    Started,
    TextDelta,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of the response; nothing of the body goes before it."""

    status: int
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the body. After the last one the response is complete."""

    data: bytes
    last: bool = False


@dataclass(slots=True)
class Outcome:
    """What becomes of a request, filled in as it is heard. Times in ms, cost in US dollars.

    `command` is the command line the dispatch equals, `process` what kind of process answers;
    `turn` is the turn's number in the ledger.
    """

    started_at: float = field(default_factory=time.time)
    origin: Origin | None = None
    plan: Plan | None = None
    session: str | None = None
    command: str | None = None
    process: Process | None = None
    ignored: tuple[str, ...] = ()
    response_id: str = ""
    model: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    ttft_ms: int = 0
    duration_ms: int = 0
    turn: int | None = None
    error: str | None = None
    _texts: list[str] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(self._texts)

    def hear(self, delta: Dispatched | Delta) -> None:
        match delta:
            case Dispatched():
                self.session, self.command = delta.session_id, delta.command
                self.process = delta.process
            case Started():
                self.response_id, self.model = delta.message_id, delta.model
                self.ttft_ms = self._elapsed_ms()
            case TextDelta():
                self._texts.append(delta.text)
            case Finished():
                self.session = delta.internal_id
                self.usage, self.cost_usd = delta.usage, delta.cost_usd
                self.duration_ms = self._elapsed_ms()

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._begun) * 1000)


@dataclass(frozen=True, slots=True)
class Exchange:
    """`api` names the shape the client speaks; `origin` is None for a request without one."""

    api: str
    origin: Origin | None
    attempt: Attempt = Attempt()
    outcome: Outcome = field(default_factory=Outcome)
