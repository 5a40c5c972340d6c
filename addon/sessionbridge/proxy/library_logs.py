"""What libraries log, without their words: those quote what could not be read, a tool's schema or a
line of an answer among it, and whatever an exception holds.

That something was said, by whom and where, stays to be seen: a fault nobody expects is found by it.
"""

from __future__ import annotations

import logging
import traceback

logger = logging.getLogger(__name__)

_LIBRARIES = ("asyncio", "claude_agent_sdk", "httpcore2", "mcp", "psycopg", "tornado")

_MITMPROXY = "mitmproxy.master"
"""Tells what nobody has asked a task for, and that may be one of ours or a library's."""

_TOLD_OTHERWISE = (
    *("claude_agent_sdk._internal.query", "mcp.server.runner"),
    *("psycopg", "psycopg.pool"),
)
"""What fails there reaches us: as an exception, as a tool that the CLI does not list, and as a
database that cannot be reached."""


class _WithoutWords(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        kind, _, places = record.exc_info or (None, None, None)
        logger.log(
            record.levelno,
            "%s has something to tell at %s:%d%s; its words are left out, they may quote anything",
            *(record.name, record.filename, record.lineno),
            f" ({kind.__name__})\n{''.join(traceback.format_tb(places))}" if kind else "",
        )


_HANDLER = _WithoutWords(logging.WARNING)


def leave_words_out() -> None:
    for name in (*_LIBRARIES, _MITMPROXY):
        library = logging.getLogger(name)
        library.propagate = False
        library.addHandler(_HANDLER)  # which it does once
    for name in _TOLD_OTHERWISE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
