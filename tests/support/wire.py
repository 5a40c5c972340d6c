"""Bytes of ours brought to an official client as a network would bring them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2


class Wire(httpx2.SyncByteStream):
    """`lost` breaks the connection at the end."""

    def __init__(self, chunks: list[bytes], lost: bool = False) -> None:
        self._chunks, self._lost = chunks, lost

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._lost:
            raise httpx2.RemoteProtocolError("peer closed connection")


def wired(
    chunks: list[bytes], content_type: str, *, status: int = 200, lost: bool = False
) -> httpx2.Client:
    """What to hand to a client library as its `http_client`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": content_type}
        return httpx2.Response(status, headers=headers, stream=Wire(chunks, lost))

    return httpx2.Client(transport=httpx2.MockTransport(answer))
