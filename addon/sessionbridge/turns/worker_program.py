"""A process of its own, started by `worker.py`: does the work that it is given, one after another.

Work is a pickle and a body, what came of it a pickle, each behind its length, on standard input and
output: only the proxy writes and reads them. It ends when its input does, and so with the proxy,
however that ends.
"""

from __future__ import annotations

import pickle
import sys
from typing import BinaryIO

LENGTH = 8
"""Bytes of a length."""


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(LENGTH) + message


def _read(given: BinaryIO) -> bytes | None:
    length = given.read(LENGTH)
    return given.read(int.from_bytes(length)) if len(length) == LENGTH else None


def _done(job: bytes, body: bytes) -> bytes:
    """Whether it went well, and what came of it."""
    try:
        work, given = pickle.loads(job)
        return pickle.dumps((True, work(body, *given)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)


def main() -> None:
    given, told = sys.stdin.buffer, sys.stdout.buffer
    sys.path[:] = pickle.loads(_read(given) or b"")
    while (job := _read(given)) is not None and (body := _read(given)) is not None:
        told.write(framed(_done(job, body)))
        told.flush()


if __name__ == "__main__":
    main()
