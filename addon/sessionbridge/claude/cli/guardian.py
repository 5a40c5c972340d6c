"""No CLI outlives the proxy, whatever ends it, `kill -9` included.

A CLI in mid-turn that loses its proxy goes on: it spends the user's tokens until its answer is
whole, and adds that to its transcript. So one small process (`guardian_program.py`) is told which
CLIs run. The other end of its standard input is in the proxy only, so that input ends when the
proxy does, and the guardian kills those it still knows. An idle CLI loses nothing by it: its answer
is in the transcript before it is announced (measured with 2.1.332).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from sessionbridge.disk import on_thread

logger = logging.getLogger(__name__)

_PROGRAM = Path(__file__).with_name("guardian_program.py")


class Guardian:
    """Started when the first CLI is, and again when it was found dead. Without it turns go on."""

    def __init__(self) -> None:
        self._watched: set[int] = set()
        self._pipe: int | None = None
        self._warned = False

    async def watch(self, pid: int) -> None:
        """The process is known to the guardian from the first moment on: what is waited for, once
        in its life, is only whether it could be started."""
        self._watched.add(pid)
        if not self._tell(pid):
            await self._start()

    def forget(self, pid: int) -> None:
        """That process has ended, and its pid may soon be another's."""
        self._watched.discard(pid)
        self._tell(-pid)

    async def _start(self) -> None:
        try:
            launcher, self._pipe = launch(self._watched)  # also those its predecessor knew
        except OSError as error:
            self._warn(f"could not be started ({error.strerror})")
            return
        # A thread, because it has to be reaped even where this turn is cancelled.
        if code := await on_thread(launcher.wait):
            self._warn(f"could not be started (exit code {code})")

    def _tell(self, number: int) -> bool:
        """Whether there is a guardian to be told."""
        if self._pipe is None:
            return False
        try:
            os.write(self._pipe, b"%d\n" % number)
        except BlockingIOError:
            pass  # someone has stopped it; closing its pipe would make it kill what runs
        except BrokenPipeError:
            os.close(self._pipe)
            self._pipe = None
            self._warn("has died")
            return False
        return True

    def _warn(self, what: str) -> None:
        if not self._warned:
            logger.warning(
                "Claude CLIs may outlive a proxy that is killed: their guardian %s", what
            )
        self._warned = True


def launch(watched: Iterable[int]) -> tuple[subprocess.Popen[bytes], int]:
    """A process that ends as soon as it has started the guardian, and the guardian's pipe. Raises
    OSError.

    Starting it takes the event loop no longer than asyncio's own start of a CLI.
    """
    read, write = os.pipe()  # no program that is started inherits them
    os.set_blocking(write, False)
    try:
        os.write(write, b"".join(b"%d\n" % pid for pid in watched))
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM)],
            stdin=read,
            # Whoever reads the proxy's output to its end is not to wait for the guardian.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a Ctrl-C is sent to the terminal's whole process group
        )
    except OSError:
        os.close(write)
        raise
    finally:
        os.close(read)
    return launcher, write


GUARDIAN = Guardian()
"""One for the process, as its children are: every dispatcher and every reload shares it."""
