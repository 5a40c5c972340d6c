"""The Chat Completions API, `POST /v1/chat/completions`
(https://platform.openai.com/docs/api-reference/chat/create).

Into the neutral form:
- `system` and `developer` messages, wherever they stand, make the system prompt, the one place for
  instructions the CLI has.
- Neighbouring `tool` messages become one user message, as the Messages API wants the results of
  one answer's calls together; a `refusal` is text of the assistant.
- Function calls, the older way, have no id: they are numbered, and a `function` message answers
  the call before it. A request that offers `functions` is answered that way too.
- Calls of `custom` tools have a text for their input (`free_text`).
- Of a content part only what is said here is kept: text, an image, a file and its name.
  `messages.name`, an image's `detail` and unknown fields of a message are reported as ignored.
- What the assistant thought (`reasoning_content` and its like) is left out in silence.
- Blank text is left out (see `messages`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from sessionbridge.apis.common import free_text
from sessionbridge.apis.common.body import (
    MOST_MESSAGES,
    Fields,
    Listed,
    NotBlank,
    read,
    refused,
    without_effect,
)
from sessionbridge.apis.common.openai_errors import error_body, status
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.apis.openai_chat.answer import OLDER, DocumentEncoder, StreamEncoder, form_of
from sessionbridge.apis.openai_chat.messages import ChatMessage, History
from sessionbridge.apis.openai_chat.parameters import ParameterFields, parameters, stops
from sessionbridge.errors import BridgeError
from sessionbridge.model import TurnRequest

# They change no answer, `prompt_cache_…` only its price.
SILENT = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "user",
    }
)
DEFAULTS = {
    "frequency_penalty": 0,
    "logprobs": False,
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "service_tier": "auto",
    # No field of this API, but of services that speak it; it asks for what is done anyway.
    "thinking": {"type": "disabled"},
    "verbosity": "medium",
}


class _StreamOptions(Fields):
    include_usage: bool | None = None


class _Request(ParameterFields):
    model: NotBlank
    messages: Annotated[Listed[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None


class ChatShape:
    """`clock` gives the epoch seconds that answers carry as `created`."""

    name = "chat"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        request = read(_Request, body, model)
        if request.n not in (None, 1):
            raise refused("n", "must be 1; a session goes on from one answer")
        answer, ignored = parameters(request)
        history = History()
        for index, message in enumerate(request.messages):
            history.add(message, f"messages.{index}")
        history.end()
        ignored |= history.ignored
        ignored |= without_effect(request.model_extra, silent=SILENT, defaults=DEFAULTS)
        options = request.stream_options
        system, messages = history.messages.whole()
        return TurnRequest(
            model=request.model,
            system=system,
            messages=messages,
            stream=bool(request.stream),
            parameters=answer,
            stop=stops(request),
            ignored=tuple(sorted(ignored)),
            include_usage=bool(options and options.include_usage),
            echo={OLDER: True} if request.functions else {},
        )

    def encoder(self, turn: TurnRequest) -> Encoder:
        if turn.stream:
            return StreamEncoder(self._clock, form_of(turn), turn.include_usage)
        return DocumentEncoder(self._clock, form_of(turn))

    def call_input(self, turn: TurnRequest, name: str, written: str) -> Mapping[str, Any]:
        return free_text.call_input(turn, name, written)

    def status(self, error: BridgeError) -> int:
        return status(error)

    def error_body(self, error: BridgeError) -> bytes:
        return error_body(error)
