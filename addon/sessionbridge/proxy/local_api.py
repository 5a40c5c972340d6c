"""What the proxy answers itself where no API is behind it (`sessionbridge_upstream=false`). Pure.

Only the list of models is there, and what clients of Ollama's ask before they talk; what is bridged
never comes here, and all else is a 404 in the words of the API the client speaks
(https://docs.anthropic.com/en/api/models-list,
https://platform.openai.com/docs/api-reference/models, https://docs.ollama.com/api/tags,
https://docs.ollama.com/api-reference/show-model-details).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sessionbridge.addresses import plain_path
from sessionbridge.apis.common.body import Fields, NotBlank, read
from sessionbridge.claude.catalog import Model, once
from sessionbridge.claude.models import Table, literal, not_found
from sessionbridge.errors import NotFound

Api = Literal["messages", "chat", "ollama"]

NO_API_FOR_THE_CLI = (
    "The Claude CLI calls the API through this proxy, which has none behind it "
    "(sessionbridge_upstream=false); do not pass this proxy's address on to the CLI."
)
NO_WEBSOCKET = (
    "There is no WebSocket at this address: no API is behind this proxy (sessionbridge_upstream), "
    "and of those it answers itself /v1/responses alone has one; send the request by POST."
)
_NO_COUNT = (
    "Tokens are not counted here: no API is behind this proxy (sessionbridge_upstream), and the "
    "Claude CLI can only estimate them; see the usage that each answer tells."
)
# Of the system prompt, each tool and the messages the CLI adds up what the API counts of them, each
# as a request of its own, or where it does not answer a guess by their characters (measured with
# 2.1.332, by its `get_context_usage`).
_COUNTS = re.compile(r"(?:/[^/]+)*/(?:messages/count_tokens|responses/input_tokens)")
_EPOCH = "1970-01-01T00:00:00Z"
_MODELS = re.compile(r"(?:/[^/]+)*?/models(?:/(?P<one>.+))?")
"""Hosts differ in what comes before."""

_OLLAMA = re.compile(r"/api/(chat|generate|tags|show|version|ps|pull|embed|embeddings)")
_VERSION = "0.13.0"
"""The version of Ollama whose chat API is spoken here, with ids of calls and levels of thinking;
clients ask for it, and use no more than it has."""


class _Show(Fields):
    model: NotBlank


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question about the models: about all of them, or the `one` of that id; or which version of
    the API this is."""

    api: Api
    one: str | None = None
    version: bool = False


def spoken(path: str, headers: Mapping[str, str]) -> Api:
    """The API whose words the client understands; header names are in lower case."""
    plain = plain_path(path)
    if _OLLAMA.fullmatch(plain):
        return "ollama"
    anthropic = "anthropic-version" in headers or plain.startswith("/v1/messages")
    return "messages" if anthropic else "chat"


def inquiry(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Inquiry:
    """Raises `NotFound` for a request that asks for anything else, and `BadRequest` for a body that
    does not tell what it asks for."""
    plain = plain_path(path)
    asked = _MODELS.fullmatch(plain)
    match method, plain:
        case "GET" | "HEAD", "/api/tags":
            return Inquiry("ollama")
        case "GET" | "HEAD", "/api/version":
            return Inquiry("ollama", version=True)
        case "POST", "/api/show":
            return Inquiry("ollama", read(_Show, body).model)
        case "GET" | "HEAD", _ if asked:
            return Inquiry(spoken(path, headers), asked["one"])
        case "POST", _ if _COUNTS.fullmatch(plain):
            raise NotFound(_NO_COUNT)
    raise NotFound(
        "There is nothing at this address: no API is behind this proxy (sessionbridge_upstream), "
        "which itself answers /v1/models and what it bridges."
    )


def answer(inquiry: Inquiry, models: Sequence[Model], table: Table) -> bytes:
    """The response body. Raises `ModelNotFound` where the one that is asked for is not there."""
    if inquiry.version:
        return json.dumps({"version": _VERSION}).encode()
    offered = once([*models, *(Model(name, name, name) for name in literal(table))])
    one, all_of = _SHAPES[inquiry.api]
    if inquiry.one is None:
        return json.dumps(all_of(offered)).encode()
    for model in offered:
        if model.id == inquiry.one:
            return json.dumps(one(model)).encode()
    raise not_found(inquiry.one)


_FAMILY = {
    "parent_model": "",
    "format": "",
    "family": "claude",
    "families": ["claude"],
    "parameter_size": "",
    "quantization_level": "",
}


def _ollama(model: Model) -> dict[str, Any]:
    """One that is shown alone. How large its context is the CLI does not tell."""
    return {
        "modified_at": _EPOCH,
        "details": _FAMILY,
        "model_info": {"general.architecture": "claude", "general.basename": model.name},
        "capabilities": ["completion", "tools", "vision", "thinking"],
    }


def _ollama_list(models: Sequence[Model]) -> dict[str, Any]:
    told = {"modified_at": _EPOCH, "size": 0, "digest": "", "details": _FAMILY}
    return {"models": [{"name": model.id, "model": model.id, **told} for model in models]}


def _anthropic(model: Model) -> dict[str, Any]:
    """The CLI tells neither dates nor limits: the reference has null for these, and the epoch."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.name,
        "created_at": _EPOCH,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "max_input_tokens": None,
        "max_tokens": None,
        "capabilities": None,
    }


def _anthropic_page(models: Sequence[Model]) -> dict[str, Any]:
    """One page holds them all, whatever `limit` says."""
    return {
        "data": [_anthropic(model) for model in models],
        "has_more": False,
        "first_id": models[0].id if models else None,
        "last_id": models[-1].id if models else None,
    }


def _openai(model: Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": 0, "owned_by": "anthropic"}


def _openai_list(models: Sequence[Model]) -> dict[str, Any]:
    return {"object": "list", "data": [_openai(model) for model in models]}


_SHAPES = {
    "messages": (_anthropic, _anthropic_page),
    "chat": (_openai, _openai_list),
    "ollama": (_ollama, _ollama_list),
}
