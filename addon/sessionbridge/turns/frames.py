"""What a client's frame on a WebSocket asks for, and whose conversation it names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from sessionbridge.apis.common.body import load, refused
from sessionbridge.apis.openai_responses.websocket import tools_in
from sessionbridge.errors import BadRequest
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.turns.naming import Named, fields_of, named_by
from sessionbridge.turns.worker import Worker, is_costly

Kind = Literal["response.create", "response.cancel"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")


class Frame(NamedTuple):
    """`lane` is its `stream_id`: what has the same one is answered in order. `generates` is false
    for a turn that is only announced; `response` is the one that a cancel means, None for any.
    `tools` are the items of its input that bring tools, as a JSON list."""

    kind: Kind
    lane: str | None
    generates: bool
    response: str | None
    tools: bytes
    named: Named


async def read(origins: Origins, headers: Mapping[str, str], body: bytes, worker: Worker) -> Frame:
    """Header names are in lower case. Raises `BadRequest`."""
    if is_costly(body):
        return await worker.run(_read, body, origins, headers)
    return _read(body, origins, headers)


def _read(body: bytes, origins: Origins, headers: Mapping[str, str]) -> Frame:
    fields = fields_of(body)
    if fields is None:
        load(body, "")  # it says where it is no JSON
        raise refused("", "must be an object")
    response = fields.get("response_id")
    return Frame(
        _kind(fields.get("type")),
        _lane(fields.get("stream_id")),
        _generates(fields),
        response if isinstance(response, str) else None,
        tools_in(fields.get("input")),
        named_by(origins, headers, fields),
    )


def _kind(given: Any) -> Kind:
    for kind in _KINDS:
        if given == kind:
            return kind
    raise refused("type", f"must be {' or '.join(_KINDS)}; nothing else is known on this WebSocket")


def _generates(fields: Mapping[str, Any]) -> bool:
    """`prewarm` counts for more than `generate`, as at the API."""
    cache = fields.get("prompt_cache_options")
    prewarms = isinstance(cache, dict) and cache.get("prewarm") is True
    return not prewarms and fields.get("generate") is not False


def _lane(given: Any) -> str | None:
    if given is None or (isinstance(given, str) and _STREAM_ID.fullmatch(given)):
        return given
    raise BadRequest(
        "stream_id: must be 1 to 256 letters, digits, underscores, hyphens and periods; leave it "
        "out for the one lane that has no name.",
        param="stream_id",
        code="invalid_stream_id",
    )
