"""Server-sent events as any server writes them; `apis/common/sse.py` is how they are written here
(https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation).

The whole stream is there already, so nothing is kept between pieces. Unlike a client, the reader of
a stream that was cut off wants its last event too, as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Event(NamedTuple):
    name: str
    data: str


def is_stream(data: bytes) -> bool:
    """Whether these bytes are events, whatever their content type says."""
    head = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith((b"data:", b"event:", b"id:", b"retry:", b":"))


def events(stream: bytes) -> Iterator[Event]:
    """Events that have data; comments, `id` and `retry` say nothing about the conversation."""
    name, data = "", list[str]()
    for line in _lines(stream):
        if not line:
            if data:
                yield Event(name, "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))
        elif field == "event":
            name = value.removeprefix(" ")
    if data:
        yield Event(name, "\n".join(data))


def _lines(stream: bytes) -> list[str]:
    # Not `splitlines`, which also splits at U+2028 and others that are text here.
    text = stream.decode(errors="replace").removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n")
