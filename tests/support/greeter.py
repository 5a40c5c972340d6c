"""A server that speaks first, as those of mail and SSH do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GREETING = b"220 mail.example ESMTP\r\n"


@contextmanager
def greeter(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Yields its port."""
    listener = socket.create_server((host, port))
    thread = threading.Thread(target=_greet, args=(listener,))
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _greet(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(GREETING)
