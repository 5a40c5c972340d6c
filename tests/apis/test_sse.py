"""What the SSE coder writes is what a reader of event streams reads, however the bytes arrive."""

from __future__ import annotations

import json

import pytest
from anthropic._streaming import SSEDecoder

from sessionbridge.apis.common import sse

# Built with chr(), so that the file itself has no odd line ends.
ODD_LINE_ENDS = "a" + chr(0x2028) + "b" + chr(0x85) + "c\nd\re"

# bytes, the (name, data) pairs a reader finds in them
TABLE = [
    pytest.param(sse.event("hi"), [(None, "hi")], id="data only"),
    pytest.param(sse.event("hi", "greeting"), [("greeting", "hi")], id="named"),
    pytest.param(sse.event("a\nb\r\nc\rd"), [(None, "a\nb\nc\nd")], id="several lines"),
    pytest.param(sse.event(" padded"), [(None, " padded")], id="leading space"),
    pytest.param(sse.event("[DONE]"), [(None, "[DONE]")], id="not JSON"),
    pytest.param(sse.json_event({"a": [1, None]}, "e"), [("e", '{"a": [1, null]}')], id="JSON"),
    pytest.param(sse.comment("ping"), [], id="comment"),
    pytest.param(sse.comment("two\nlines"), [], id="comment of two lines"),
    pytest.param(
        sse.event("1") + sse.comment() + sse.event("2"), [(None, "1"), (None, "2")], id="in a row"
    ),
]


def events(*chunks: bytes) -> list[tuple[str | None, str]]:
    return [(event.event, event.data) for event in SSEDecoder().iter_bytes(iter(chunks))]


@pytest.mark.parametrize("encoded, expected", TABLE)
def test_events_are_read_whole_byte_by_byte_and_before_half_an_event(
    encoded: bytes, expected: list[tuple[str | None, str]]
) -> None:
    assert events(encoded) == expected
    assert events(*(encoded[i : i + 1] for i in range(len(encoded)))) == expected
    assert events(encoded + b'event: half\ndata: {"a"') == expected


def test_the_form_is_that_of_the_anthropic_reference() -> None:
    assert sse.json_event({"type": "ping"}, "ping") == b'event: ping\ndata: {"type": "ping"}\n\n'


@pytest.mark.parametrize("text", [ODD_LINE_ENDS, "日本語 🙂", chr(0xD83D)])
def test_json_is_one_line_of_ascii_whatever_the_text(text: str) -> None:
    encoded = sse.json_event({"text": text})
    assert encoded.isascii()
    assert len(encoded.decode().splitlines()) == 2
    [(_, data)] = events(encoded)
    assert json.loads(data) == {"text": text}


@pytest.mark.parametrize("name", ["a\nb", "a\r", "a\r\ndata: x"])
def test_a_name_cannot_start_another_line(name: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        sse.event("hi", name)


def test_json_that_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        sse.json_event({"a": float("nan")})
