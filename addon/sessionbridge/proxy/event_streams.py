"""Streams of events or of JSON documents, whoever sends them: they pass on as they come, and are
shown once they end."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http

_STREAMS = (b"text/event-stream", b"application/x-ndjson")
_KEPT_BYTES = 16 * 1024 * 1024


class EventStreams:
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """mitmproxy would hold a stream back until it ends."""
        response = flow.response
        if response and not response.stream and is_event_stream(response.headers):
            response.stream = keep_stream(flow)


def is_event_stream(headers: http.Headers) -> bool:
    """From the fields themselves: every response that passes is asked, and the mapping's own
    look-up would cost it more than all of our other hooks."""
    return any(
        name.lower() == b"content-type" and value.startswith(_STREAMS)
        for name, value in headers.fields
    )


def keep_stream(flow: http.HTTPFlow) -> Callable[[bytes], bytes]:
    """A stream function that changes nothing and shows the body in the flow once it has ended;
    mitmproxy itself drops streamed bodies. Very long ones are not kept."""
    kept: list[bytes] = []
    size = 0

    def tap(data: bytes) -> bytes:
        nonlocal size
        size += len(data)
        kept.append(data)
        if size > _KEPT_BYTES:
            kept.clear()
        elif not data and flow.response is not None:
            flow.response.raw_content = b"".join(kept)
            kept.clear()
        return data

    return tap
