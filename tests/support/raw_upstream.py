"""A server that keeps every byte it is sent and answers with bytes it was given."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class RawUpstream:
    """`pieces` are sent one by one; after the first, each waits for `go_on`."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._go_on = threading.Semaphore(0)
        self.port = int(self._listener.getsockname()[1])
        self.received: list[bytes] = []

    def go_on(self) -> None:
        self._go_on.release()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        self.received.append(read_request(connection))
        for number, piece in enumerate(self._pieces):
            if number:
                assert self._go_on.acquire(timeout=10)
            connection.sendall(piece)


@contextmanager
def raw_upstream(*pieces: bytes) -> Iterator[RawUpstream]:
    upstream = RawUpstream(*pieces)
    thread = threading.Thread(target=upstream.serve)
    thread.start()
    try:
        yield upstream
    finally:
        upstream.close()
        thread.join()


def read_request(connection: socket.socket) -> bytes:
    """One request with a content-length, as it is on the wire."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while len(body) < sum(lengths):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
