"""One bridged request as the addon, the loopback server and the bridge know it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from sessionbridge.allowances import ClientRules
from sessionbridge.answer import Answer
from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.errors import BridgeError, is_unable
from sessionbridge.model import (
    Attempt,
    Block,
    Delta,
    Dispatched,
    Finished,
    Message,
    Origin,
    Plan,
    Process,
    Spent,
    Started,
    TurnRequest,
    Usage,
)
from sessionbridge.sessions.store.spending import Reserved

Step = Literal["parse", "plan", "pass_on", "prepare", "dispatch", "answer", "commit", "close"]
"""What is done for a turn, one after the other: `plan` has the waits for its session and for a
place, `dispatch` lasts until the first token. One that is passed on, or only prepared, ends with
that."""


def _read(name: str, written: str) -> Mapping[str, Any]:
    return read_arguments(written)


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request says of who is to answer: the `provider` it names, or then the one that was
    chosen, the `model` by the client's word for it, the answer that it `follows`, and the
    `conversation` that a client has created, by their ids. With `fallback` another may answer where
    that one cannot."""

    provider: str | None = None
    model: str = ""
    follows: str | None = None
    conversation: str | None = None
    fallback: bool = True


@dataclass(slots=True)
class Outcome:
    """What becomes of a request, filled in as it is heard. Times in ms, cost in US dollars.

    `command` is the command line the dispatch equals, `process` what kind of process answers;
    `reserved` is what budgets have the turn as, which is settled in one with keeping it;
    `turn` is the turn's number in the ledger, `committing` says that it is on its way there.
    `error` is the `failure` with the status the client got, for people to read; `is_unable` says
    that it is the provider's, and another might do better. What `goes_on` in
    the background is over when that task is; its answer has the `given_id`. `node` is the address
    of the other node that has answered, which tells what it has used, and its `error`. `provider`
    is the account that has answered, `vendor` who serves the model to it. `asked` is the request as
    it was read, `steps` are those begun, each with the seconds since it came. `attempts` is what
    became of it with other providers, which could not answer, each `given_up` so many seconds since
    it came.
    """

    started_at: float = field(default_factory=time.time)
    asked: TurnRequest | None = None
    steps: list[tuple[Step, float]] = field(default_factory=list)
    origin: Origin | None = None
    plan: Plan | None = None
    session: str | None = None
    command: str | None = None
    process: Process | None = None
    told: tuple[str, ...] = ()
    told_ms: int = 0
    ignored: tuple[str, ...] = ()
    response_id: str = ""
    model: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    stop_reason: str | None = None
    limits: tuple[tuple[str, str], ...] = ()
    ttft_ms: int = 0
    duration_ms: int = 0
    reserved: Reserved | None = None
    turn: int | None = None
    committing: bool = False
    failure: BridgeError | None = None
    error: str | None = None
    is_unable: bool = False
    goes_on: asyncio.Task[None] | None = None
    given_id: str | None = None
    node: str | None = None
    provider: str | None = None
    vendor: str | None = None
    attempts: Sequence[Outcome] = ()
    given_up: float = 0.0
    call_input: Callable[[str, str], Mapping[str, Any]] = field(default=_read)
    """How the client will tell the input of a call, by the tool's name and what was written."""
    _answer: Answer = field(default_factory=Answer)
    _begun: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        """The answer's text so far."""
        return self._answer.text

    @property
    def heard(self) -> Answer:
        """The answer so far, block by block."""
        return self._answer

    @property
    def answer(self) -> Message:
        """What the client will send back as its answer: the text, then the calls."""
        calls: list[Block] = [
            {
                "type": "tool_use",
                "id": call.id,
                "name": call.name,
                "input": self.call_input(call.name, call.written),
            }
            for call in self._answer.calls
        ]
        return Message("assistant", ({"type": "text", "text": self.text}, *calls))

    def enter(self, step: Step) -> None:
        """The step before has ended."""
        if not self.steps or self.steps[-1][0] != step:
            self.steps.append((step, self.elapsed))

    def hear(self, delta: Dispatched | Delta) -> None:
        if isinstance(delta, Dispatched):
            self.session, self.command = delta.session_id, delta.command
            self.process, self.told, self.told_ms = delta.process, delta.told, delta.told_ms
            return
        self._answer.hear(delta)
        match delta:
            case Started():
                self.response_id = self.given_id or delta.message_id
                self.model = delta.model
                self.ttft_ms = self._elapsed_ms()
                self.enter("answer")
            case Finished():
                self.session = delta.session_id
                self.usage, self.cost_usd = delta.usage, delta.cost_usd
                self.limits, self.stop_reason = delta.limits, delta.stop_reason
                self.duration_ms = self._elapsed_ms()
                self.enter("commit")

    def give_up(self) -> Outcome:
        """What has become of it so far, of which nothing was told: another provider is asked."""
        before = copy(self)
        before.given_up, before.attempts = self.elapsed, ()
        attempts = (*self.attempts, before)
        self.become(Outcome(started_at=self.started_at, _begun=self._begun, attempts=attempts))
        return before

    def become(self, other: Outcome) -> None:
        for known in fields(self):
            setattr(self, known.name, getattr(other, known.name))

    def fail(self, failure: BridgeError, status: int) -> None:
        self.failure, self.error = failure, f"{status} {type(failure).__name__}"
        self.is_unable = is_unable(failure)

    def spend(self, spent: Spent) -> None:
        """The turn has ended without `Finished`."""
        self.model, self.usage, self.cost_usd = spent.model, spent.usage, spent.cost_usd
        self.duration_ms = self._elapsed_ms()

    @property
    def elapsed(self) -> float:
        """Seconds since the request came."""
        return time.monotonic() - self._begun

    def _elapsed_ms(self) -> int:
        return round(self.elapsed * 1000)


@dataclass(frozen=True, slots=True)
class Exchange:
    """`api` names the shape the client speaks; `origin` is None for a request without one. One that
    is `refused` has been so before its body was there. `model` is the one that the address names,
    where an API has it there; `run` the id of the program's run that it comes from, where
    `sessionbridge exec` has started that. One that is `framed` came on a WebSocket, one for a
    `summary` to an address that its API has for these. One without a `path` is not to be passed on
    to another node; one that another has passed on has the address of this `node`. The client
    that is known by a token is named in `attempt`, and has these `rules`. `after` are the providers
    that could not answer it, the last one last. `trace` are the headers that tell which trace it is
    a part of."""

    api: str
    origin: Origin | None
    attempt: Attempt = Attempt()
    refused: BridgeError | None = None
    model: str | None = None
    run: str | None = None
    framed: bool = False
    summary: bool = False
    path: str | None = None
    node: str | None = None
    rules: ClientRules = ClientRules()
    wanted: Wanted = Wanted()
    after: tuple[str, ...] = ()
    trace: Mapping[str, str] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)


@dataclass(frozen=True, slots=True)
class Replay:
    """An answer that was given before, to be sent as a stream."""

    parts: AsyncGenerator[Head | Chunk]


class Walk(Protocol):
    def handle(self, exchange: Exchange, body: bytes) -> AsyncGenerator[Head | Chunk]: ...

    async def prepare(self, exchange: Exchange, body: bytes) -> None: ...
