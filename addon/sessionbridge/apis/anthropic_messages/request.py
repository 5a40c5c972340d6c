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

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from sessionbridge.apis.anthropic_messages import summary_answer
from sessionbridge.apis.anthropic_messages.answer import (
    DocumentEncoder,
    StreamEncoder,
    error_body,
    read_input,
)
from sessionbridge.apis.anthropic_messages.blocks import said
from sessionbridge.apis.anthropic_messages.compaction import (
    Compaction,
    Summary,
    check_combined,
    check_summarised,
    summary_in,
)
from sessionbridge.apis.anthropic_messages.parameters import (
    ParameterFields,
    for_replies,
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
    refused,
    texts,
    without_effect,
)
from sessionbridge.apis.common.messages import CallWords, Messages, joined
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.apis.common.summary import PROMPT, shown
from sessionbridge.errors import BridgeError, ThreadsUnsupported
from sessionbridge.model import Purpose, ThreadTurn, TurnRequest

CALL_WORDS = CallWords(
    unanswered="`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each"
    " `tool_use` block must have a corresponding `tool_result` block in the next message.",
    uncalled="unexpected `tool_use_id` found in `tool_result` blocks: {}. Each `tool_result` block"
    " must have a corresponding `tool_use` block in the previous message.",
)
# They change no answer, `cache_control` only its price.
SILENT = frozenset({"metadata", "cache_control"})
DEFAULTS = {
    "billing_policy": {"type": "billing_policy", "bill_to": "self"},
    "service_tier": "auto",
    "speed": "standard",
}


class _Message(Fields):
    role: Literal["user", "assistant", "system"]
    content: Any = None


class _Request(ParameterFields):
    model: NotBlank
    messages: Annotated[Listed[_Message], Field(max_length=MOST_MESSAGES)]
    system: Any = None
    stream: bool | None = None
    thread: ThreadField | None = None
    compaction: Compaction | None = None


class MessagesShape:
    name = "messages"

    def parse(self, body: bytes, model: str | None = None) -> TurnRequest:
        request = read(_Request, body, model)
        purpose = _purpose(request)
        thread = _kept_thread(request, purpose)
        before = previous(thread) if thread else None
        answer, ignored = parameters(request, is_whole=before is None)
        conversation = Messages(CALL_WORDS)
        prompt = [] if request.system is None else list(texts(request.system, "system"))
        if before is None:
            conversation.instruct(prompt)
        if thread:
            _check_system_messages(request)
        summary = summary_in(_said(request))
        ignored |= _tell(request, summary, conversation, thinking=answer.thinking is not None)
        if request.compaction is not None:
            check_summarised(_said(request), says_nothing=conversation.says_nothing)
            _ask_for_summary(request.compaction, conversation)
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
            purpose=purpose,
            summarized=summary is not None,
        )

    def encoder(self, turn: TurnRequest) -> Encoder:
        if turn.purpose == "summary":
            return summary_answer.encoder(stream=turn.stream)
        made = StreamEncoder if turn.stream else DocumentEncoder
        shows_thinking = turn.parameters.thinking is not None
        return made(shows_thinking=shows_thinking, is_kept=turn.thread is not None)

    def call_input(self, turn: TurnRequest, name: str, written: str) -> Mapping[str, Any]:
        return read_input(written)

    def status(self, error: BridgeError) -> int:
        return error.status

    def error_body(self, error: BridgeError) -> bytes:
        return error_body(error)


def _kept_thread(request: _Request, purpose: Purpose) -> ThreadField | None:
    """A summary is an answer that nobody goes on from: clients begin a thread with it."""
    thread = request.thread
    if thread is None or purpose == "answer":
        return thread
    if purpose == "summary" and previous(thread) is None:
        return None
    name = "compaction" if purpose == "summary" else "max_tokens"
    raise ThreadsUnsupported(
        f"thread: {name} asks for what is not kept in a thread; send the whole conversation "
        "without thread.",
        param="thread",
        unsupported=(name,),
    )


def _check_system_messages(request: _Request) -> None:
    for index, message in enumerate(request.messages):
        if message.role == "system":
            check_content(message.content, f"messages.{index}.content")


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


def _purpose(request: _Request) -> Purpose:
    if request.compaction is not None:
        check_combined(_beside_a_summary(request), "compaction")
        return "summary"
    if not request.messages:
        raise refused("messages", "must not be empty")
    if request.max_tokens == 0:
        check_combined(_beside_nothing(request), "max_tokens 0")
        return "prewarm"
    return "answer"


def _beside_a_summary(request: _Request) -> Iterator[str]:
    """The fields that the API does not take together with `compaction`."""
    if request.max_tokens == 0:
        yield "max_tokens 0"
    if (request.model_extra or {}).get("context_management") is not None:
        yield "context_management"
    if request.stop_sequences:
        yield "stop_sequences"
    yield from for_replies(request)


def _beside_nothing(request: _Request) -> Iterator[str]:
    """The fields that the API does not take where nothing is to be said
    (https://platform.claude.com/docs/en/build-with-claude/prompt-caching#limitations)."""
    if request.stream:
        yield "stream"
    if request.thinking and request.thinking.type == "enabled":
        yield "thinking"
    yield from for_replies(request)


def _said(request: _Request) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in request.messages]


def _tell(
    request: _Request, summary: Summary | None, conversation: Messages, *, thinking: bool
) -> set[str]:
    """Adds the messages, from the summary on; returns the names of what has no effect."""
    ignored: set[str] = set()
    if summary is not None:
        conversation.say("user", [shown(summary.text)], f"messages.{summary.number}")
        ignored |= summary.ignored
    for index, message in enumerate(request.messages):
        if summary is not None and index < summary.number:
            continue
        field = f"messages.{index}"
        content = f"{field}.content"
        if message.role == "system":
            # One may be there for its `output_config` alone.
            told = [] if message.content is None else message.content
            conversation.instruct_within(texts(told, content), field)
        elif message.content is None:
            raise refused(content, "is required")
        else:
            after = summary.block if summary and index == summary.number else None
            found = said(message.content, message.role, content, thinking=thinking, after=after)
            if not found.messages and after is None:
                conversation.say(message.role, [], field)
            for role, blocks in found.messages:
                conversation.say(role, blocks, field)
            ignored |= found.ignored
        ignored |= without_effect(
            message.model_extra, silent=frozenset(), defaults={}, prefix="messages."
        )
    return ignored


def _ask_for_summary(compaction: Compaction, conversation: Messages) -> None:
    instructions = compaction.instructions or ""
    question = instructions if instructions.strip() else PROMPT
    conversation.say("user", [{"type": "text", "text": question}], "compaction")
