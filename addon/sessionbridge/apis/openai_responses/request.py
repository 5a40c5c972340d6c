"""The Responses API, `POST /v1/responses`
(https://platform.openai.com/docs/api-reference/responses/create).

Into the neutral form:
- `instructions`, then `system` and `developer` messages, wherever they stand, make the system
  prompt, the one place for instructions the CLI has.
- Those messages are part of the conversation and hold on in its next turns; `instructions` are not.
- Neighbouring texts and calls of the assistant become one message, as do neighbouring outputs of
  calls: the Messages API wants the results of one answer's calls together.
- `reasoning` items are left out: they belong to the account and model that made them.
- What OpenAI's own tools have done is told as calls and results (`openai_responses_hosted`).
- An `item_reference` becomes a block of that name in a message of the assistant, with the message
  id of the answer as `response` and the number of its `block`, for whoever keeps the answers to
  put that in its place. One of a `reasoning` item is left out like the item.
- Tools see `openai_responses_tools`. Those that the CLI cannot run are reported as ignored, not
  refused, because Codex offers some with every request.
- Thinking is on where `reasoning.effort` asks for some, and shown where `reasoning.summary` does.
- Blank text is left out (see `messages`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.common import free_text
from sessionbridge.apis.common.body import (
    MOST_MESSAGES,
    Fields,
    Listed,
    NotBlank,
    Tools,
    check,
    load_body,
    refused,
    without_effect,
)
from sessionbridge.apis.common.openai_errors import error_body, status
from sessionbridge.apis.common.openai_parameters import (
    FormatType,
    LeastEffort,
    effort_of,
    is_free_choice,
    schema_of,
)
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.apis.common.tools import check_choice
from sessionbridge.apis.openai_responses.answer import DocumentEncoder, StreamEncoder, answered
from sessionbridge.apis.openai_responses.hosted import BRINGS_TOOLS
from sessionbridge.apis.openai_responses.items import Items
from sessionbridge.apis.openai_responses.tools import Offers
from sessionbridge.errors import BridgeError
from sessionbridge.model import Effort, Parameters, Thinking, Tool, TurnRequest
from sessionbridge.names import is_conversation, is_plain

# They change no answer: `prompt_cache_…` only its price, `max_tool_calls` counts the calls of tools
# that run at OpenAI, `stream_options` is about padding against eavesdroppers.
SILENT = frozenset(
    {
        "client_metadata",
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "user",
    }
)
DEFAULTS = {
    # Reasoning that was sent back would be left out, so nothing is missed where none is given.
    "include": ["reasoning.encrypted_content"],
    "parallel_tool_calls": True,
    "service_tier": "auto",
    "top_logprobs": 0,
    "truncation": "disabled",
}
# `prewarm` asks for no answer; frames of a WebSocket have it, as `generate: false`.
PROMPT_CACHE_DEFAULTS = {"prewarm": False}
REASONING_DEFAULTS = {"context": "auto", "mode": "standard"}

# What the response repeats of the request.
ECHOED = (
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)


class _Reasoning(Fields):
    effort: Literal[LeastEffort, Effort] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    # The name `summary` had before.
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class _Format(Fields):
    type: FormatType
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class _Text(Fields):
    format: _Format | None = None


class _AllowedTool(Fields):
    type: str
    name: str | None = None
    namespace: str | None = None


class _AllowedTools(Fields):
    tools: Listed[_AllowedTool]


class _Brought(Fields):
    tools: Tools


class _Request(Fields):
    model: NotBlank
    input: Any = None
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: NotBlank | None = None
    conversation: Any = None
    tools: Tools | None = None
    tool_choice: Any = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    background: bool | None = None
    prompt: Any = None
    prompt_cache_options: Fields | None = None


class ResponsesShape:
    """`clock` gives the epoch seconds that answers carry as `created_at`."""

    name = "responses"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        return turn_of(load_body(body, model))

    def encoder(self, turn: TurnRequest) -> Encoder:
        return (StreamEncoder if turn.stream else DocumentEncoder)(turn, self._clock)

    def call_input(self, turn: TurnRequest, name: str, written: str) -> Mapping[str, Any]:
        return free_text.call_input(turn, name, written)

    def status(self, error: BridgeError) -> int:
        return status(error)

    def error_body(self, error: BridgeError) -> bytes:
        return error_body(error)


def turn_of(fields: Any, before: Sequence[Mapping[str, Any]] = ()) -> TurnRequest:
    """`before` are items of its conversation that come before its input. Raises `BadRequest`,
    naming the field."""
    request = check(_Request, fields, "")
    _refuse_what_is_kept_elsewhere(request)
    placed = _placed(request, before)
    offers = _brought(Offers(request.tools or []), placed)
    chosen = _chosen(request.tool_choice, offers)
    items = _items(request, offers, placed)
    kept = kept_in(request.conversation) is not None
    # All of what is asked may have been given before, with the conversation.
    system, messages = items.whole() if request.input or not kept else ("", ())
    return TurnRequest(
        model=request.model,
        messages=messages,
        system=system,
        stream=bool(request.stream),
        parameters=_parameters(request, chosen),
        ignored=tuple(sorted(items.ignored | offers.ignored | _without_effect(request))),
        echo=_echo(fields),
        previous=_previous(request.previous_response_id),
        store=request.store is not False,
        background=bool(request.background),
        summarized=items.summarized,
        items=items.messages.within,
        given=request.input or [] if kept else [],
    )


def kept_in(conversation: object) -> str | None:
    """The id of a conversation that was created here, as a request names it."""
    named = conversation.get("id") if isinstance(conversation, dict) else conversation
    return named if isinstance(named, str) and is_conversation(named) else None


def place(item: Mapping[str, Any]) -> str:
    """Of one that its conversation has, as an error names it."""
    id_ = item["id"]
    return f"conversation.items.{id_ if is_plain(id_) else '(other)'}"


def check_items(values: list[Any], field: str) -> None:
    """Whether a conversation can hold these. Raises `BadRequest`."""
    placed = [(f"{field}.{index}", value) for index, value in enumerate(values)]
    items = Items(_brought(Offers([]), placed))
    for where, value in placed:
        items.add(value, where)
    items.end()


def prepared_turn(fields: Any) -> TurnRequest:
    """One that says what the next will be like, and asks nothing. Raises `BadRequest`."""
    request = check(_Request, fields, "")
    _refuse_what_is_kept_elsewhere(request)
    _brought(Offers(request.tools or []), _placed(request, ()))
    return TurnRequest(request.model, "", (), True, echo=_echo(fields))


def _refuse_what_is_kept_elsewhere(request: _Request) -> None:
    if request.background and request.store is False:
        raise refused("background", "must be false where store is: nobody could ask for the answer")
    if request.prompt is not None:
        raise refused("prompt", "is a template kept at OpenAI; send its text as instructions")
    if request.previous_response_id is not None and request.conversation is not None:
        rule = "must not be given together with conversation, which is another place to go on from"
        raise refused("previous_response_id", rule)


type _Placed = list[tuple[str, Any]]
"""Items, each with the field that an error names."""


def _placed(request: _Request, before: Sequence[Mapping[str, Any]]) -> _Placed:
    values = request.input if isinstance(request.input, list) else []
    if len(before) + len(values) > MOST_MESSAGES:
        field = "conversation" if before else "input"
        raise refused(field, f"must have at most {MOST_MESSAGES:,} items")
    kept = [(place(item), item) for item in before]
    return [*kept, *((f"input.{index}", value) for index, value in enumerate(values))]


def _brought(offers: Offers, placed: _Placed) -> Offers:
    """With the tools that these items bring."""
    for where, value in placed:
        if isinstance(value, dict) and value.get("type") in BRINGS_TOOLS:
            offers.add(check(_Brought, value, where).tools, f"{where}.tools")
    return offers


def _chosen(choice: Any, offers: Offers) -> tuple[Tool, ...]:
    """The tools that may be called. The CLI lets the model choose among them."""
    names = {name for _, name in offers.full_names}
    match choice:
        case None | "auto" | "required":
            pass
        case "none":
            return ()
        case {"type": "function" | "custom", "name": str(name)}:
            check_choice(name, names, "tool_choice.name")
        case {"type": "allowed_tools"}:
            allowed = check(_AllowedTools, choice, "tool_choice").tools
            return tuple(tool for tool in offers.tools if _is_allowed(tool, allowed))
        case {"type": str()}:
            pass  # of a kind that the CLI cannot run
        case _:
            raise refused("tool_choice", "must be none, auto, required or a tool")
    return offers.tools


def _is_allowed(tool: Tool, allowed: list[_AllowedTool]) -> bool:
    """By its name and namespace, or as one of a namespace that is allowed as a whole."""
    for one in allowed:
        if one.type == "namespace":
            found = one.name is not None and one.name == tool.namespace
        else:
            found = (one.namespace, one.name) == (tool.namespace, tool.called or tool.name)
        if found:
            return True
    return False


def _items(request: _Request, offers: Offers, placed: _Placed) -> Items:
    decided = (v.get("approval_request_id") for _, v in placed if isinstance(v, dict))
    items = Items(offers, [id_ for id_ in decided if isinstance(id_, str)])
    if request.instructions is not None:
        items.messages.instruct([request.instructions])
    for where, value in placed:
        items.add(value, where)
    match request.input:
        case None if kept_in(request.conversation) is None:
            raise refused("input", "is required")
        case None | list():
            pass
        case str() as words:
            items.ask(words)
        case _:
            raise refused("input", "must be a string or a list of items")
    return items


def _previous(response_id: str | None) -> str | None:
    """By the message id of the answer, which is what the ledger has."""
    if response_id is None:
        return None
    message_id = answered(response_id)
    if message_id is None:
        raise refused("previous_response_id", "must be an id that begins with resp_")
    return message_id


def _parameters(request: _Request, tools: tuple[Tool, ...]) -> Parameters:
    reasoning = request.reasoning or _Reasoning()
    effort = effort_of(reasoning.effort)
    form = request.text.format if request.text else None
    summary = reasoning.summary or reasoning.generate_summary
    thinking = Thinking(display="summarized" if summary else "omitted")
    return Parameters(
        tools=tools,
        thinking=thinking if effort else None,
        effort=effort,
        schema=schema_of(form.type, form.schema_, "text.format.schema") if form else None,
        max_tokens=request.max_output_tokens,
    )


def _without_effect(request: _Request) -> set[str]:
    ignored = without_effect(request.model_extra, silent=SILENT, defaults=DEFAULTS)
    if not is_free_choice(request.tool_choice):
        ignored.add("tool_choice")
    if request.prompt_cache_options:
        ignored |= without_effect(
            request.prompt_cache_options.model_extra,
            silent=frozenset({"mode", "ttl"}),
            defaults=PROMPT_CACHE_DEFAULTS,
            prefix="prompt_cache_options.",
        )
    if request.reasoning:
        ignored |= without_effect(
            request.reasoning.model_extra,
            silent=frozenset(),
            defaults=REASONING_DEFAULTS,
            prefix="reasoning.",
        )
    if request.text:
        ignored |= without_effect(
            request.text.model_extra,
            silent=frozenset(),
            defaults={"verbosity": "medium"},
            prefix="text.",
        )
        # A name helps nobody, and a schema is kept to whether or not `strict` asks for it.
        if request.text.format:
            ignored |= without_effect(
                request.text.format.model_extra,
                silent=frozenset({"name", "strict"}),
                defaults={},
                prefix="text.format.",
            )
    return ignored


def _echo(fields: Mapping[str, Any]) -> dict[str, Any]:
    echo = {name: fields[name] for name in ECHOED if fields.get(name) is not None}
    conversation = fields.get("conversation")
    if conversation is not None:
        # Asked for by its id alone or as an object, told as an object.
        echo["conversation"] = (
            {"id": conversation} if isinstance(conversation, str) else conversation
        )
    return echo
