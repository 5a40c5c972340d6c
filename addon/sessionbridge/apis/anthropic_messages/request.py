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
A last message of the assistant (prefill) is refused, as current models do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.anthropic_messages.answer import (
    DocumentEncoder,
    StreamEncoder,
    error_body,
    read_input,
)
from sessionbridge.apis.anthropic_messages.blocks import said
from sessionbridge.apis.anthropic_messages.parameters import ParameterFields, parameters
from sessionbridge.apis.common.body import (
    MOST_MESSAGES,
    Fields,
    Listed,
    NotBlank,
    read,
    texts,
    without_effect,
)
from sessionbridge.apis.common.messages import CallWords, Messages
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.errors import BridgeError, ThreadsUnsupported
from sessionbridge.model import TurnRequest

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
    thread: Any = None


class MessagesShape:
    name = "messages"

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        request = read(_Request, body, model)
        if request.thread is not None:
            rule = (
                "thread: conversations are not kept for this API; send them whole, without thread."
            )
            raise ThreadsUnsupported(rule, param="thread")
        answer, ignored = parameters(request)
        conversation = Messages(CALL_WORDS)
        if request.system is not None:
            conversation.instruct(texts(request.system, "system"))
        for index, message in enumerate(request.messages):
            field = f"messages.{index}"
            content = f"{field}.content"
            if message.role == "system":
                conversation.instruct_within(texts(message.content, content), field)
            else:
                thinking = answer.thinking is not None
                found = said(message.content, message.role, content, thinking=thinking)
                for role, blocks in found.messages or [(message.role, [])]:
                    conversation.say(role, blocks, field)
                ignored |= found.ignored
            ignored |= without_effect(
                message.model_extra, silent=frozenset(), defaults={}, prefix="messages."
            )
        ignored |= without_effect(request.model_extra, silent=SILENT, defaults=DEFAULTS)
        system, messages = conversation.whole()
        return TurnRequest(
            model=request.model,
            system=system,
            messages=messages,
            stream=bool(request.stream),
            parameters=answer,
            stop=tuple(request.stop_sequences or ()),
            ignored=tuple(sorted(ignored)),
        )

    def encoder(self, turn: TurnRequest) -> Encoder:
        shows_thinking = turn.parameters.thinking is not None
        return StreamEncoder(shows_thinking) if turn.stream else DocumentEncoder(shows_thinking)

    def call_input(self, turn: TurnRequest, name: str, written: str) -> Mapping[str, Any]:
        return read_input(written)

    def status(self, error: BridgeError) -> int:
        return error.status

    def error_body(self, error: BridgeError) -> bytes:
        return error_body(error)
