"""A request's body as a turn: what was said, and how it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from sessionbridge.apis.common.shape import Shape
from sessionbridge.claude.models import choice
from sessionbridge.config import Settings
from sessionbridge.errors import BadRequest
from sessionbridge.model import TurnRequest
from sessionbridge.names import few
from sessionbridge.sessions.planning.lineage import Link, chain
from sessionbridge.sessions.planning.manner import Manner, manner
from sessionbridge.sessions.planning.references import References, refers
from sessionbridge.sessions.store.queries import Response
from sessionbridge.turns.worker import Worker


class Spoken(NamedTuple):
    """What was said, and how it is asked."""

    links: Sequence[Link]
    manner: Manner


class Reader:
    """Reads bodies under these settings."""

    def __init__(self, settings: Settings, references: References, worker: Worker) -> None:
        self._settings = settings
        self._references = references
        self._worker = worker

    async def read(
        self,
        shape: Shape,
        body: bytes,
        theirs: Callable[[Response], bool],
        model: str | None = None,
    ) -> tuple[TurnRequest, Spoken]:
        """`model` is that of a body that names none. Items may be referred to of responses that are
        `theirs`. Raises `BadRequest` for what cannot be obeyed, and `ModelNotFound`."""
        turn, spoken = await self._worker.done(_parse, body, shape, model)
        asked = turn.model
        chosen = choice(turn.model, self._settings.models, self._settings.unknown_model)
        ignored = few(("model", *turn.ignored) if chosen.ignored else turn.ignored)
        turn = replace(turn, model=chosen.model, ignored=ignored)
        if self._settings.strict and turn.ignored:
            raise _without_effect(turn.ignored[0])
        if spoken is None:
            turn = replace(turn, messages=await self._references.resolved(turn.messages, theirs))
            spoken = await asyncio.to_thread(_spoken, turn, asked)
        return turn, spoken


type _Parsed = tuple[TurnRequest, Spoken | None]


def _parse(body: bytes, shape: Shape, model: str | None) -> _Parsed:
    """What was said is None where the request only names a part of it."""
    turn = shape.parse(body, model)
    if any(refers(message) for message in turn.messages):
        return turn, None
    return turn, _spoken(turn, turn.model)


def _without_effect(name: str) -> BadRequest:
    return BadRequest(
        f"{name}: this has no effect through the bridge, and sessionbridge_strict is on; "
        "leave it out or turn that option off.",
        param=name,
    )


def _spoken(turn: TurnRequest, model: str) -> Spoken:
    """`model` is the client's own word for it."""
    links = chain(turn.messages)
    return Spoken(links, manner(turn.system, turn.parameters.tools, model, links))
