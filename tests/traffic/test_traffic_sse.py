"""Event streams of any server are read, whole or cut off."""

from __future__ import annotations

import pytest
from anthropic._streaming import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.apis.common import sse
from sessionbridge.traffic.sse import Event, events, is_stream

# Built with chr(), so that the file itself has no odd line ends.
LINE_SEPARATOR = chr(0x2028)

TABLE = [
    pytest.param(b"data: 1\n\ndata: 2\n\n", [("", "1"), ("", "2")], id="line feeds"),
    pytest.param(b"event: e\r\ndata: 1\r\n\r\n", [("e", "1")], id="carriage return, line feed"),
    pytest.param(b"event: e\rdata: 1\r\rdata: 2", [("e", "1"), ("", "2")], id="carriage returns"),
    pytest.param(b"data: 1\ndata:2\ndata\n\n", [("", "1\n2\n")], id="several lines of data"),
    pytest.param(b": ping\n\n:\n\ndata: 1\n\n", [("", "1")], id="comments"),
    pytest.param(b"event: ping\n\ndata: 1\n\n", [("", "1")], id="a name without data"),
    pytest.param(b"id: 7\nretry: 9\ndata: 1\n\n", [("", "1")], id="other fields"),
    pytest.param(b'event: e\ndata: {"a', [("e", '{"a')], id="cut off"),
    pytest.param(b"\xef\xbb\xbfdata: 1\n\n\n\n", [("", "1")], id="byte order mark"),
    pytest.param(b"data: \xff\n\n", [("", "\ufffd")], id="no UTF-8"),
    pytest.param(
        f"data: a{LINE_SEPARATOR}b\n\n".encode(), [("", f"a{LINE_SEPARATOR}b")], id="text"
    ),
    pytest.param(b"", [], id="nothing"),
]


@pytest.mark.parametrize("stream, expected", TABLE)
def test_events(stream: bytes, expected: list[tuple[str, str]]) -> None:
    assert [*events(stream)] == [Event(*event) for event in expected]


@given(st.lists(st.tuples(st.sampled_from(["", "a"]), st.text("ab:\r\n ", min_size=1))))
def test_what_is_written_here_is_read_as_clients_read_it(written: list[tuple[str, str]]) -> None:
    stream = b"".join(sse.event(data, name) + sse.comment() for name, data in written)
    clients = [(e.event or "", e.data) for e in SSEDecoder().iter_bytes(iter([stream]))]
    assert [*events(stream)] == clients


@pytest.mark.parametrize(
    "body, expected",
    [
        (b"data: 1\n\n", True),
        (b"\n\nevent: e\ndata: 1", True),
        (b": ping\n\n", True),
        (b"\xef\xbb\xbfid: 1\n\n", True),
        (b'{"data": 1}', False),
        (b"<html>data:", False),
        (b"", False),
    ],
)
def test_a_stream_is_known_by_its_first_line(body: bytes, expected: bool) -> None:
    assert is_stream(body) is expected
