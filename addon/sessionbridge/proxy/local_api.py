"""What the proxy answers itself where no API is behind it (`sessionbridge_upstream=false`). Pure.

Only the list of models is there; what is bridged never comes here, and all else is a 404 in the
words of the API the client speaks (https://docs.anthropic.com/en/api/models-list,
https://platform.openai.com/docs/api-reference/models).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sessionbridge.addresses import plain_path
from sessionbridge.claude.catalog import Model, once
from sessionbridge.claude.models import Table, literal, not_found
from sessionbridge.errors import NotFound

Api = Literal["messages", "chat"]

NO_API_FOR_THE_CLI = (
    "The Claude CLI calls the API through this proxy, which has none behind it "
    "(sessionbridge_upstream=false); do not pass this proxy's address on to the CLI."
)
NO_WEBSOCKET = (
    "There is no WebSocket at this address: no API is behind this proxy (sessionbridge_upstream), "
    "and of those it answers itself /v1/responses alone has one; send the request by POST."
)
_MODELS = "/v1/models"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question about the models: about all of them, or the `one` of that id."""

    api: Api
    one: str | None = None


def spoken(path: str, headers: Mapping[str, str]) -> Api:
    """The API whose words the client understands; header names are in lower case."""
    anthropic = "anthropic-version" in headers or plain_path(path).startswith("/v1/messages")
    return "messages" if anthropic else "chat"


def inquiry(method: str, path: str, headers: Mapping[str, str]) -> Inquiry:
    """Raises `NotFound` for a request that asks for anything else."""
    path = plain_path(path)
    if method in ("GET", "HEAD") and path == _MODELS:
        return Inquiry(spoken(path, headers))
    if method in ("GET", "HEAD") and path.startswith(f"{_MODELS}/"):
        return Inquiry(spoken(path, headers), path.removeprefix(f"{_MODELS}/"))
    raise NotFound(
        "There is nothing at this address: no API is behind this proxy (sessionbridge_upstream), "
        f"which itself answers {_MODELS} and what it bridges."
    )


def answer(inquiry: Inquiry, models: Sequence[Model], table: Table) -> bytes:
    """The response body. Raises `ModelNotFound` where the one that is asked for is not there."""
    offered = once([*models, *(Model(name, name, name) for name in literal(table))])
    one, all_of = _SHAPES[inquiry.api]
    if inquiry.one is None:
        return json.dumps(all_of([one(model) for model in offered])).encode()
    for model in offered:
        if model.id == inquiry.one:
            return json.dumps(one(model)).encode()
    raise not_found(inquiry.one)


def _anthropic(model: Model) -> dict[str, Any]:
    """The CLI tells neither dates nor limits: the reference has null for these, and the epoch."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "max_input_tokens": None,
        "max_tokens": None,
        "capabilities": None,
    }


def _anthropic_page(models: Sequence[Any]) -> dict[str, Any]:
    """One page holds them all, whatever `limit` says."""
    return {
        "data": models,
        "has_more": False,
        "first_id": models[0]["id"] if models else None,
        "last_id": models[-1]["id"] if models else None,
    }


def _openai(model: Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": 0, "owned_by": "anthropic"}


def _openai_list(models: Sequence[Any]) -> dict[str, Any]:
    return {"object": "list", "data": models}


_SHAPES = {"messages": (_anthropic, _anthropic_page), "chat": (_openai, _openai_list)}
