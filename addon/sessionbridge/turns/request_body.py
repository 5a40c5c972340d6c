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

_LARGE_BODY = 250_000
"""Bytes; what takes longer than two milliseconds is read and hashed on a thread."""


class Spoken(NamedTuple):
    """What was said, and how it is asked."""

    links: Sequence[Link]
    manner: Manner


class Reader:
    """Reads bodies under these settings."""

    def __init__(self, settings: Settings, references: References) -> None:
        self._settings = settings
        self._references = references

    async def read(
        self, shape: Shape, body: bytes, theirs: Callable[[Response], bool]
    ) -> tuple[TurnRequest, Spoken]:
        """Items may be referred to of responses that are `theirs`. Raises `BadRequest` for what
        cannot be obeyed, and `ModelNotFound`."""
        large = len(body) > _LARGE_BODY
        turn = await asyncio.to_thread(shape.parse, body) if large else shape.parse(body)
        asked = turn.model
        model = choice(turn.model, self._settings.models, self._settings.unknown_model)
        ignored = few(("model", *turn.ignored) if model.ignored else turn.ignored)
        turn = replace(turn, model=model.model, ignored=ignored)
        if self._settings.strict and turn.ignored:
            raise _without_effect(turn.ignored[0])
        if any(refers(message) for message in turn.messages):
            turn = replace(turn, messages=await self._references.resolved(turn.messages, theirs))
        return turn, await asyncio.to_thread(_spoken, turn, asked) if large else _spoken(
            turn, asked
        )


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
