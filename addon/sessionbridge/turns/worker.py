"""What takes long on a large body is done in another process.

A thread would not do: readers of JSON keep the interpreter's lock from the first byte to the last,
half a second for 20 MB of `{}` (measured with Python 3.13), and all other requests wait for it. And
what a large body leaves behind in the memory goes with its process.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sessionbridge.errors import BridgeError
from sessionbridge.turns import worker_program
from sessionbridge.turns.worker_program import LENGTH, framed

LARGE = 64_000
"""Bytes; what is larger is not read on the event loop. A usual body of that size takes a
millisecond, one of the shortest messages some 30 (measured on two cores under load)."""

_LARGEST_HERE = 4_000_000
_MOST_FIELDS_HERE = 20_000
_MOST_VALUES_HERE = 200_000
"""Of what is read in this process: each of them is 30 ms in one piece (measured with a text of
escapes, an object of so many fields, and a list of numbers)."""

_IDLE = 60.0
"""Seconds until it is ended: a turn with images that follows soon finds it started, which takes
0.4 s."""

_PIECE = 256 * 1024
"""Bytes that are written and read at a time."""

_PACKAGES = str(Path(__file__).parents[2])
"""mitmproxy takes the folder of the entry file off `sys.path` again."""


def is_costly(body: bytes) -> bool:
    """Whether reading it here would hold up others."""
    if len(body) <= LARGE:
        return False
    # Told by their marks. Those of texts count too, which costs a text its shorter way, no more.
    return (
        len(body) > _LARGEST_HERE
        or body.count(b":") > _MOST_FIELDS_HERE
        or sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES_HERE
    )


class Worker:
    """Started when it is first needed. Work and results are pickled, so `work` is a function of a
    module, which should import little."""

    def __init__(self, idle: float = _IDLE) -> None:
        self._idle = idle
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()
        self._end: asyncio.TimerHandle | None = None

    async def run[*Ts, T](self, work: Callable[[bytes, *Ts], T], body: bytes, *given: *Ts) -> T:
        """What `work` returns or raises. It is ended where it is no longer waited for."""
        job = framed(pickle.dumps((work, given))) + len(body).to_bytes(LENGTH)
        async with self._one_at_a_time:
            if self._end is not None:
                self._end.cancel()
            try:
                reply = await self._reply(job, body)
            except (EOFError, ConnectionError) as error:
                self.close()
                raise BridgeError(
                    "The process that reads large requests has ended; send the request again."
                ) from error
            except BaseException:
                self.close()
                raise
            self._end = asyncio.get_running_loop().call_later(self._idle, self.close)
        done, result = pickle.loads(reply)
        if not done:
            raise result
        answer: T = result
        return answer

    async def done[*Ts, T](self, work: Callable[[bytes, *Ts], T], body: bytes, *given: *Ts) -> T:
        """The same, there or in this process, as the body is costly or not."""
        if is_costly(body):
            return await self.run(work, body, *given)
        if len(body) > LARGE:
            return await asyncio.to_thread(work, body, *given)
        return work(body, *given)

    async def end(self) -> None:
        process = self._process
        self.close()
        if process is not None:
            await process.communicate()

    def close(self) -> None:
        """The same without waiting."""
        if self._end is not None:
            self._end.cancel()
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()

    async def _reply(self, job: bytes, body: bytes) -> bytes:
        if self._process is None or self._process.returncode is not None:
            self._process = await _started()
        given, told = self._process.stdin, self._process.stdout
        assert given is not None and told is not None
        given.write(job)
        view = memoryview(body)
        for begin in range(0, len(body), _PIECE):  # whole, it would be copied more than once
            given.write(view[begin : begin + _PIECE])
            await given.drain()
        return await told.readexactly(int.from_bytes(await told.readexactly(LENGTH)))


async def _started() -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", worker_program.__file__),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        limit=_PIECE,
        start_new_session=True,  # a Ctrl-C is sent to the terminal's whole process group
    )
    assert process.stdin is not None
    process.stdin.write(framed(pickle.dumps([_PACKAGES, *sys.path])))
    return process
