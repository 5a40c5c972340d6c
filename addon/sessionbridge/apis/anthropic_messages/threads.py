"""Threads of the Messages API, conversations that the API keeps (`message-threads-2026-08-12`).

`{"type": "create"}` keeps the conversation under the id of the answer, and `{"type": "continue",
"previous_message_id": …}` goes on from that answer: the request has only what is new. System prompt
and tools are the thread's; a request may leave them out, or say the same again. What is not here
told of fields, errors and their statuses is in the official client (`lib/threads` and
`types/thread_*_error.py` of anthropic 2.14.0).

Tools that come and go within a thread (`tool_addition`, `tool_removal`) are refused by the error
after which clients go on without a thread.
"""

from __future__ import annotations

from typing import Literal

from sessionbridge.apis.common import ids
from sessionbridge.apis.common.body import Fields, NotBlank, refused
from sessionbridge.errors import ThreadNotFound, ThreadsUnsupported

_CHANGES = ("tool_addition", "tool_removal")


class ThreadField(Fields):
    type: Literal["create", "continue"]
    previous_message_id: NotBlank | None = None


def previous(thread: ThreadField) -> str | None:
    """The message id of the answer to go on from, as the ledger has it; None for a new thread.
    Raises `BadRequest`, and `ThreadNotFound` for an id that was not given here."""
    id_, field = thread.previous_message_id, "thread.previous_message_id"
    if thread.type == "create":
        if id_ is not None:
            raise refused(field, "is for the type 'continue'")
        return None
    if id_ is None:
        raise refused(field, "is required")
    message_id = ids.message_id("msg", id_) if ids.is_made_here(id_) else None
    if message_id is None:
        raise ThreadNotFound()
    return message_id


def check_content(content: object, field: str) -> None:
    """Raises `ThreadsUnsupported` where a message of the system changes the tools."""
    blocks = content if isinstance(content, list) else []
    for kind in (block.get("type") for block in blocks if isinstance(block, dict)):
        if kind in _CHANGES:
            raise ThreadsUnsupported(
                f"{field}: {kind} blocks have no effect here; send the whole conversation without "
                "thread, and the tools as they are now.",
                param=field,
                unsupported=(kind,),
            )
