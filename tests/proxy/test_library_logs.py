"""What libraries say reaches the log without their words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from logging.handlers import BufferingHandler

import pytest

from sessionbridge.proxy.library_logs import leave_words_out


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """As mitmproxy hears it, from the root; pytest also asks loggers that do not propagate."""
    handler = BufferingHandler(capacity=100)
    logging.getLogger().addHandler(handler)
    yield handler.buffer
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize(
    "name", ["mcp.server.lowlevel", "claude_agent_sdk", "tornado.application", "mitmproxy.master"]
)
def test_who_where_and_what_kind_are_told(name: str, logged: list[logging.LogRecord]) -> None:
    for _ in range(2):  # a reload makes no second line of it
        leave_words_out()
    try:
        raise ValueError("private words")
    except ValueError:
        logging.getLogger(name).exception("could not read %r", "private words")
    logging.getLogger(name).info("private words")
    (record,) = logged
    assert (record.name, record.levelname) == ("sessionbridge.proxy.library_logs", "ERROR")
    said = record.getMessage()
    assert f"{name} has something to tell at test_library_logs.py:" in said
    assert "(ValueError)" in said and "in test_who_where_and_what_kind_are_told" in said


def test_what_is_told_of_every_export_is_told_once(logged: list[logging.LogRecord]) -> None:
    leave_words_out()
    exporter = logging.getLogger("opentelemetry.exporter.tests")
    for error in [OSError("private"), OSError("words"), ValueError("private words")]:
        exporter.warning("could not export, retrying: %s", error)
    said = [record.getMessage() for record in logged]
    assert ["(OSError)" in said[0], "(ValueError)" in said[1], len(said)] == [True, True, 2]
    assert "private" not in "".join(said)
