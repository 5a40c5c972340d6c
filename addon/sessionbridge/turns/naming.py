"""Whose conversation a request names, by its headers and its body.

What is wrong with a body that is no JSON object is for the API shape to say, or for the real API.
What is bridged is read once more by the API's shape, from the bytes that arrive at the loopback
server: strictly, which this reader is not. It takes the last of two fields of one name, and NaN, so
its result cannot stand for the other's; and the strict one takes eight times as long, for all that
passes on as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from sessionbridge.apis.common.ids import is_made_here
from sessionbridge.apis.common.summary import is_sealed_here
from sessionbridge.apis.openai_responses.request import kept_in
from sessionbridge.model import Origin
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.turns.worker import Worker, is_costly


class Named(NamedTuple):
    """`response` is the one that the request goes on from, `model` the client's word for
    it. `is_read` tells whether the body could be, or there is none; `brings_ours` whether it holds
    what nobody but us can read: a summary that was sealed here, or the id of an item that was
    answered here. `conversation` is one that was created here, whatever else names one."""

    origin: Origin | None
    response: str | None
    is_read: bool = True
    brings_ours: bool = False
    model: str = ""
    conversation: str | None = None


async def named(origins: Origins, headers: Mapping[str, str], body: bytes, worker: Worker) -> Named:
    """Header names are in lower case. Raises `BadRequest` for an id that cannot be one."""
    if is_costly(body):
        return await worker.run(_named, body, origins, headers)
    return _named(body, origins, headers)


def named_by(
    origins: Origins, headers: Mapping[str, str], fields: Mapping[str, Any] | None
) -> Named:
    """The same of a body that has been read."""
    asked = fields or {}
    model = asked.get("model")
    return Named(
        origins.detect(headers, fields),
        _previous(asked),
        brings_ours=_brings_ours(asked),
        model=model if isinstance(model, str) else "",
        conversation=kept_in(asked.get("conversation")),
    )


def _named(body: bytes, origins: Origins, headers: Mapping[str, str]) -> Named:
    fields = fields_of(body)
    found = named_by(origins, headers, fields)
    return found._replace(is_read=fields is not None or not body)


def _previous(fields: Mapping[str, Any]) -> str | None:
    """As either API names it; where a body does both ways, one that was given here counts."""
    thread = fields.get("thread")
    named = thread.get("previous_message_id") if isinstance(thread, dict) else None
    given = [one for one in (fields.get("previous_response_id"), named) if isinstance(one, str)]
    return next(filter(is_made_here, given), next(iter(given), None))


def _brings_ours(fields: Mapping[str, Any]) -> bool:
    given = fields.get("input")
    return isinstance(given, list) and any(map(_is_ours, given))


def _is_ours(item: object) -> bool:
    match item:
        case {"type": "compaction", "encrypted_content": str(sealed)}:
            return is_sealed_here(sealed)
        case {"id": str(id_), **more} if "role" not in more:
            # The type of a reference may be left out.
            return more.get("type") in (None, "item_reference") and is_made_here(id_)
    return False


def fields_of(body: bytes) -> dict[str, Any] | None:
    """None where it is no JSON object."""
    try:
        value = _parsed(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _parsed(body: bytes) -> Any:
    """With pydantic's reader, which takes a third of the time. What only Python's own can read, a
    lone surrogate in some message for one, may name a conversation too."""
    try:
        return from_json(body)
    except ValueError:
        return json.loads(body)
