"""Whether a request for a turn is the bridge's to answer: one that names a conversation is, any is
where an option says so, and Claude Code's is left alone. And which may not pass on either."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sessionbridge.apis.common.ids import is_made_here
from sessionbridge.errors import BadRequest
from sessionbridge.model import Origin
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.routing import is_claude_code
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.turns.naming import Named

_OF_OPENAI = re.compile(r"conv_[0-9a-f]{40,}")
"""Of conversations that are kept at OpenAI
(https://platform.openai.com/docs/api-reference/conversations)."""


def is_ours(named: Named, headers: Mapping[str, str], options: Options) -> bool:
    """Header names are in lower case. Raises `BridgeError` while the options are wrong."""
    settings = options.usable()
    if settings.upstream and not settings.claude_code and is_claude_code(headers, named.origin):
        return False
    if settings.upstream and named.origin and _is_of_the_api(named.origin):
        return False
    if named.origin is not None or settings.unkeyed != "passthrough":
        return True
    return named.brings_ours or (named.response is not None and is_made_here(named.response))


def _is_of_the_api(origin: Origin) -> bool:
    """Whether the API behind the proxy holds what was said there."""
    return origin.by_caller and _OF_OPENAI.fullmatch(origin.external_id) is not None


def check_unread(body: bytes | None, named: Named, origins: Origins) -> None:
    """Raises `BadRequest` for what names a conversation, for all that can be seen; None stands for
    a body that cannot be had at all."""
    if body is not None and named.is_read:
        return
    names = ("previous_response_id", "previous_message_id", *origins.body_fields)
    if body is None or any(f'"{name}"'.encode() in body for name in names):
        raise BadRequest(
            "The request is not JSON that can be read, and may name a conversation; send valid "
            "JSON, or name the conversation in a header."
        )
