"""Whether a request for a turn is the bridge's to answer: one that names a conversation is, any is
where an option says so, and Claude Code's is left alone."""

from __future__ import annotations

from collections.abc import Mapping

from sessionbridge.apis.common.ids import is_made_here
from sessionbridge.proxy.options import Options
from sessionbridge.proxy.routing import is_claude_code
from sessionbridge.turns.naming import Named


def is_ours(named: Named, headers: Mapping[str, str], options: Options) -> bool:
    """Header names are in lower case. Raises `BridgeError` while the options are wrong."""
    settings = options.usable()
    if settings.upstream and not settings.claude_code and is_claude_code(headers, named.origin):
        return False
    if named.origin is not None or settings.unkeyed != "passthrough":
        return True
    return named.response is not None and is_made_here(named.response)
