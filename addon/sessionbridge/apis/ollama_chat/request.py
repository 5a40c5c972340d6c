"""Ollama's own chat API, `POST /api/chat` (https://docs.ollama.com/api/chat).

Into the neutral form:
- `system` messages, wherever they stand, make the system prompt, the one place for instructions the
  CLI has.
- Neighbouring `tool` messages become one user message, as the Messages API wants the results of
  one answer's calls together.
- What the assistant thought (`thinking`) is left out in silence: it is nothing the model takes
  without the signature, for which there is no place.
- Of `options` the limit of tokens and the stop sequences have their effect. Those that tell Ollama
  how to load a model mean nothing here; others are reported as ignored.
- An answer is streamed unless the request says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import Field

from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.apis.common.body import (
    MOST_MESSAGES,
    Fields,
    Listed,
    NotBlank,
    Tools,
    check,
    read,
    refused,
    without_effect,
)
from sessionbridge.apis.common.openai_parameters import NO_PARAMETERS
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.apis.common.tools import LONGEST_NAME, check_schema, offered
from sessionbridge.apis.ollama_chat.answer import (
    DocumentEncoder,
    StreamEncoder,
    error_body,
    status,
)
from sessionbridge.apis.ollama_chat.messages import ChatMessage, History
from sessionbridge.errors import BridgeError
from sessionbridge.model import Effort, Parameters, Thinking, Tool, TurnRequest

SILENT = frozenset({"keep_alive"})
DEFAULTS = {"logprobs": False, "top_logprobs": 0, "truncate": True, "shift": True}

# https://docs.ollama.com/modelfile, and `Runner` of Ollama's api/types.go
LOADING = frozenset(
    {
        "f16_kv",
        "logits_all",
        "low_vram",
        "main_gpu",
        "num_batch",
        "num_ctx",
        "num_gpu",
        "num_keep",
        "num_thread",
        "numa",
        "use_mlock",
        "use_mmap",
        "vocab_only",
    }
)


class _Options(Fields):
    # Below 1 there is none: -1 has no end, -2 fills the context.
    num_predict: int | None = None
    stop: Any = None


class _Stop(Fields):
    stop: Listed[Annotated[str, Field(min_length=1)]]


class _Function(Fields):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(Fields):
    function: _Function
    type: str | None = None


class _Request(Fields):
    model: NotBlank
    messages: Annotated[Listed[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: bool | None = None
    tools: Tools | None = None
    format: Any = None
    think: Any = None
    options: _Options | None = None


class OllamaShape:
    """`clock` gives the epoch seconds that answers carry and their durations are counted by."""

    name = "ollama"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        request = read(_Request, body, model)
        history = History()
        for index, message in enumerate(request.messages):
            history.add(message, f"messages.{index}")
        history.end()
        tools = [_tool(value, f"tools.{index}") for index, value in enumerate(request.tools or [])]
        options = request.options or _Options()
        effort = _effort(request.think)
        ignored = history.ignored.union(
            *(told for _, told in tools),
            without_effect(request.model_extra, silent=SILENT, defaults=DEFAULTS),
            without_effect(options.model_extra, silent=LOADING, defaults={}, prefix="options."),
        )
        system, messages = history.messages.whole()
        limit = options.num_predict
        return TurnRequest(
            model=request.model,
            system=system,
            messages=messages,
            stream=request.stream is not False,
            parameters=Parameters(
                tools=offered((tool for tool, _ in tools), "tools.{}.function.name", LONGEST_NAME),
                thinking=Thinking() if request.think else None,
                effort=effort,
                schema=_schema(request.format),
                max_tokens=limit if limit and limit > 0 else None,
            ),
            stop=_stops(options.stop),
            ignored=tuple(sorted(ignored)),
        )

    def encoder(self, turn: TurnRequest) -> Encoder:
        encoder = StreamEncoder if turn.stream else DocumentEncoder
        return encoder(self._clock, turn)

    def call_input(self, turn: TurnRequest, name: str, written: str) -> Mapping[str, Any]:
        return read_arguments(written)

    def status(self, error: BridgeError) -> int:
        return status(error)

    def error_body(self, error: BridgeError) -> bytes:
        return error_body(error)


def _tool(value: object, field: str) -> tuple[Tool, set[str]]:
    """A tool, and what of it has no effect."""
    given = check(_Tool, value, field)
    if given.type not in (None, "function"):
        raise refused(f"{field}.type", "must be function")
    function = given.function
    schema = NO_PARAMETERS if function.parameters is None else function.parameters
    check_schema(schema, f"{field}.function.parameters")
    told = {**(given.model_extra or {}), **(function.model_extra or {})}
    ignored = without_effect(told, silent=frozenset(), defaults={"strict": False}, prefix="tools.")
    return Tool(function.name, function.description or "", schema), ignored


def _effort(think: object) -> Effort | None:
    match think:
        case None | True | False:
            return None
        case "low" | "medium" | "high" | "max":
            return think
    raise refused("think", "must be true, false, low, medium, high or max")


def _schema(form: object) -> Mapping[str, Any] | None:
    """What the answer has to fulfil."""
    match form:
        case None | "":
            return None
        case "json":
            return {"type": "object"}
        case dict():
            return form
    raise refused("format", "must be json or a JSON schema")


def _stops(given: object) -> tuple[str, ...]:
    """A single one needs no list."""
    if given is None:
        return ()
    listed = [given] if isinstance(given, str) else given
    return tuple(check(_Stop, {"stop": listed}, "options").stop)
