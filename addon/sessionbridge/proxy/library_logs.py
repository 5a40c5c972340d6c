"""What libraries log, without their words: those quote what could not be read, a tool's schema or a
line of an answer among it, and whatever an exception holds.

That something was said, by whom and where, stays to be seen: a fault nobody expects is found by it.
"""

from __future__ import annotations

import logging
import traceback

logger = logging.getLogger(__name__)

_LIBRARIES = ("asyncio", "claude_agent_sdk", "httpcore2", "mcp", "psycopg", "tornado")

_OFTEN = "opentelemetry"
"""Tells of each export that fails, while a collector is away."""

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
        kind, places = _kind(record), record.exc_info[2] if record.exc_info else None
        logger.log(
            record.levelno,
            "%s has something to tell at %s:%d%s; its words are left out, they may quote anything",
            *(record.name, record.filename, record.lineno),
            (f" ({kind})" if kind else "")
            + (f"\n{''.join(traceback.format_tb(places))}" if places else ""),
        )


class _Once(_WithoutWords):
    """What is told again of the same kind, at the same place, is not."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._told: set[tuple[str, int, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        here = record.filename, record.lineno, _kind(record)
        if here not in self._told:
            self._told.add(here)
            super().emit(record)


def _kind(record: logging.LogRecord) -> str:
    """Of the exception that it tells of; empty where it tells of none."""
    told = record.args if isinstance(record.args, tuple) else ()
    errors = [type(argument) for argument in told if isinstance(argument, BaseException)]
    if record.exc_info and record.exc_info[0]:
        errors.insert(0, record.exc_info[0])
    return errors[0].__name__ if errors else ""


_HANDLER = _WithoutWords(logging.WARNING)
_ONCE = _Once(logging.WARNING)


def leave_words_out() -> None:
    for name in (*_LIBRARIES, _MITMPROXY, _OFTEN):
        library = logging.getLogger(name)
        library.propagate = False
        library.addHandler(_ONCE if name == _OFTEN else _HANDLER)  # which it does once
    for name in _TOLD_OTHERWISE:
        logging.getLogger(name).setLevel(logging.CRITICAL)
