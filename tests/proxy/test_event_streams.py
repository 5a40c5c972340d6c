"""Event streams pass on as they come, and are shown once they end."""

from __future__ import annotations

import pytest
from mitmproxy.http import Headers
from mitmproxy.test import tflow, tutils

from sessionbridge.proxy import event_streams


@pytest.mark.parametrize(
    ("content_type", "streamed"),
    [
        ("text/event-stream; charset=utf-8", True),
        ("application/x-ndjson", True),
        ("application/json", False),
        ("", False),
    ],
)
def test_what_is_a_stream(content_type: str, streamed: bool) -> None:
    assert event_streams.is_event_stream(Headers(content_type=content_type)) is streamed


def test_a_stream_passes_unchanged_and_stays_visible() -> None:
    flow = tflow.tflow(resp=tutils.tresp(content=None))
    tap = event_streams.keep_stream(flow)
    assert [tap(data) for data in (b"data: 1\n", b"\n", b"")] == [b"data: 1\n", b"\n", b""]
    assert flow.response is not None and flow.response.raw_content == b"data: 1\n\n"


def test_a_very_long_stream_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "_KEPT_BYTES", 4)
    flow = tflow.tflow(resp=tutils.tresp(content=None))
    tap = event_streams.keep_stream(flow)
    assert [tap(data) for data in (b"123", b"45", b"6", b"")] == [b"123", b"45", b"6", b""]
    assert flow.response is not None and flow.response.raw_content is None
