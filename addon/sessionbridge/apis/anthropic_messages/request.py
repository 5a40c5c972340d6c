"""The Messages API, `POST /v1/messages` (https://docs.anthropic.com/en/api/messages).

Its blocks are the neutral form, so they pass as they are, with these exceptions:
- `cache_control` and `citations` are removed: the CLI sets its own cache marks, and citations of
  an answer cannot be given back to it.
- `thinking` and `redacted_thinking` blocks are left out unless the request has thinking on: only
  then does the API look at them.
- blank text is left out (see `messages`).
- a `system` message within `messages`
  (https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages) is added
  to the system prompt, the one place for instructions the CLI has (see `messages`).
- what tools at Anthropic have done: see `anthropic_messages_blocks`.
- a `thread` is kept here: see `anthropic_messages_threads`.
A last message of the assistant (prefill) is refused, as current models do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.anthropic_messages.answer import (
    DocumentEncoder,
    StreamEncoder,
    error_body,
    read_input,
)
from sessionbridge.apis.anthropic_messages.blocks import said
from sessionbridge.apis.anthropic_messages.parameters import (
    ParameterFields,
    given_tools,
    parameters,
)
from sessionbridge.apis.anthropic_messages.threads import ThreadField, check_content, previous
from sessionbridge.apis.common.body import (
    MOST_MESSAGES,
    Fields,
    Listed,
    NotBlank,
    read,
    texts,
    without_effect,
)
from sessionbridge.apis.common.messages import CallWords, Messages, joined
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.errors import BridgeError
from sessionbridge.model import ThreadTurn, TurnRequest

CALL_WORDS = CallWords(
    unanswered="`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each"
    " `tool_use` block must have a corresponding `tool_result` block in the next message.",
    uncalled="unexpected `tool_use_id` found in `tool_result` blocks: {}. Each `tool_result` block"
    " must have a corresponding `tool_use` block in the previous message.",
)
# They change no answer, `cache_control` only its price.
SILENT = frozenset({"metadata", "cache_control"})
DEFAULTS = {"service_tier": "auto"}


class _Message(Fields):
    role: Literal["user", "assistant", "system"]
    content: Any


class _Request(ParameterFields):
    model: NotBlank
    messages: Annotated[Listed[_Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    system: Any = None
    stream: bool | None = None
    thread: ThreadField | None = None


class MessagesShape:
    name = "messages"

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        request = read(_Request, body, model)
        thread = request.thread
        before = previous(thread) if thread else None
        answer, ignored = parameters(request, is_whole=before is None)
        conversation = Messages(CALL_WORDS)
        prompt = [] if request.system is None else list(texts(request.system, "system"))
        if before is None:
            conversation.instruct(prompt)
        for index, message in enumerate(request.messages):
            field = f"messages.{index}"
            if thread and message.role == "system":
                check_content(message.content, f"{field}.content")
            ignored |= _add(message, conversation, field, thinking=answer.thinking is not None)
        ignored |= without_effect(request.model_extra, silent=SILENT, defaults=DEFAULTS)
        ignored |= _extras(thread, "thread.")
        system, messages = conversation.whole()
        return TurnRequest(
            model=request.model,
            system=system,
            messages=messages,
            stream=bool(request.stream),
            parameters=answer,
            stop=tuple(request.stop_sequences or ()),
            ignored=tuple(sorted(ignored)),
            previous=before,
            store=thread is not None,
            thread=_thread_turn(request, prompt) if thread else None,
            items=_items(system) if thread else None,
        )

    def encoder(self, turn: TurnRequest) -> Encoder:
        made = StreamEncoder if turn.stream else DocumentEncoder
        shows_thinking = turn.parameters.thinking is not None
        return made(shows_thinking=shows_thinking, is_kept=turn.thread is not None)

    def call_input(self, turn: TurnRequest, name: str, written: str) -> Mapping[str, Any]:
        return read_input(written)

    def status(self, error: BridgeError) -> int:
        return error.status

    def error_body(self, error: BridgeError) -> bytes:
        return error_body(error)


def _add(message: _Message, conversation: Messages, field: str, *, thinking: bool) -> set[str]:
    """Adds what the message says to the conversation; returns the names of what has no effect."""
    content, ignored = f"{field}.content", _extras(message, "messages.")
    if message.role == "system":
        conversation.instruct_within(texts(message.content, content), field)
        return ignored
    found = said(message.content, message.role, content, thinking=thinking)
    for role, blocks in found.messages or [(message.role, [])]:
        conversation.say(role, blocks, field)
    return ignored | found.ignored


def _extras(given: Fields | None, prefix: str) -> set[str]:
    extra = given.model_extra if given else None
    return without_effect(extra, silent=frozenset(), defaults={}, prefix=prefix)


def _items(system: str) -> tuple[str, ...]:
    """In a thread what the system has said holds on, wherever it stood."""
    return (system,) if system else ()


def _thread_turn(request: _Request, prompt: Iterable[str]) -> ThreadTurn:
    choice = request.tool_choice
    return ThreadTurn(
        system=None if request.system is None else joined(prompt),
        tools=None if request.tools is None else given_tools(request),
        calls=choice is None or choice.type != "none",
    )
