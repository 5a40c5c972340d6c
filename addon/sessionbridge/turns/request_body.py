"""A request's body as a turn: what was said, and how it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sessionbridge.apis.common.shape import Shape
from sessionbridge.claude.models import choice
from sessionbridge.config import Settings
from sessionbridge.errors import BadRequest, BridgeError
from sessionbridge.model import TurnRequest
from sessionbridge.names import few
from sessionbridge.sessions.planning.chained import gone
from sessionbridge.sessions.planning.lineage import Link, chain
from sessionbridge.sessions.planning.manner import Manner, manner
from sessionbridge.sessions.planning.references import References, named_in, refers
from sessionbridge.sessions.store.queries import Response
from sessionbridge.stored.seals import Seals, is_sealed
from sessionbridge.turns.background import Background
from sessionbridge.turns.exchange import Exchange
from sessionbridge.turns.kept_instructions import KeptInstructions
from sessionbridge.turns.worker import Worker


class Spoken(NamedTuple):
    """What was said, how it is asked, and what it goes on from where the request names that."""

    links: Sequence[Link]
    manner: Manner
    previous: Response | None = None


class Reader:
    """Reads bodies under these settings."""

    def __init__(
        self,
        settings: Settings,
        seals: Seals,
        references: References,
        instructions: KeptInstructions,
        worker: Worker,
        background: Background,
    ) -> None:
        self._settings = settings
        self._seals = seals
        self._references = references
        self._instructions = instructions
        self._worker = worker
        self._background = background

    async def read(
        self, shape: Shape, body: bytes, exchange: Exchange
    ) -> tuple[TurnRequest, Spoken]:
        """Raises `BadRequest` for what cannot be obeyed, and what is not found."""
        turn, links, how = await self._worker.done(_parse, body, shape, exchange.model)

        def theirs(response: Response) -> bool:
            """An id that somebody else has is of no use to them."""
            return response.is_for(exchange.origin, exchange.attempt.caller)

        asked = turn.model
        chosen = choice(turn.model, self._settings.models, self._settings.unknown_model)
        ignored = few(("model", *turn.ignored) if chosen.ignored else turn.ignored)
        turn = replace(turn, model=chosen.model, ignored=ignored)
        if self._settings.strict and turn.ignored:
            raise _without_effect(turn.ignored[0])
        if turn.purpose == "summary":
            turn = replace(turn, key=await self._seals.key())
        if links is None:
            messages = await self._references.resolved(turn.messages, theirs)
            referred = tuple(named_in(turn.messages, messages))
            messages = await self._seals.opened(messages)
            turn = replace(turn, messages=messages, referred=referred)
            links = await asyncio.to_thread(chain, turn.messages)
        previous = None
        if turn.previous is not None:
            previous = await self._references.response(turn.previous, theirs)
            if previous is None:
                raise self._unknown(turn, exchange)
            turn = await self._instructions.under(turn, previous.key.provider, previous.end)
        return turn, Spoken(links, how or _manner(turn, asked, links), previous)

    def _unknown(self, turn: TurnRequest, exchange: Exchange) -> BridgeError:
        assert turn.previous is not None
        caller = exchange.attempt.caller
        running = self._background.find(turn.previous, exchange.origin, caller)
        if turn.thread is not None or running is None or running.ended:
            return gone(turn)
        return BadRequest(
            "previous_response_id: this response is still under way; go on from it once it has "
            "ended.",
            param="previous_response_id",
        )


type _Parsed = tuple[TurnRequest, Sequence[Link] | None, Manner | None]


def _parse(body: bytes, shape: Shape, model: str | None) -> _Parsed:
    """What was said is None where the request only names a part of it, or has it sealed. So is how
    it is asked, which the instructions that hold already are a part of."""
    turn = shape.parse(body, model)
    if any(refers(message) or is_sealed(message) for message in turn.messages):
        return turn, None, None
    links = chain(turn.messages)
    return turn, links, _manner(turn, turn.model, links) if turn.previous is None else None


def _without_effect(name: str) -> BadRequest:
    return BadRequest(
        f"{name}: this has no effect through the bridge, and sessionbridge_strict is on; "
        "leave it out or turn that option off.",
        param=name,
    )


def _manner(turn: TurnRequest, model: str, links: Sequence[Link]) -> Manner:
    """`model` is the client's own word for it."""
    return manner(turn.system, turn.parameters.tools, model, links)
