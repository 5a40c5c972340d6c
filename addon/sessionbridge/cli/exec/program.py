"""Runs a program in the place of this one: its terminal, its signals and its exit status."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""As shells end where a program is not there, or cannot be run (POSIX, XCU 2.8.2)."""

_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class CannotRun(Exception):
    """`status` is the exit status that a shell would have."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def find(name: str) -> None:
    """Raises `CannotRun` where a shell would find no such program."""
    if shutil.which(name) is None and not os.path.exists(name):
        said = f"There is no program {name!r}; write its path, or see what PATH holds."
        raise CannotRun(said, NOT_FOUND)


def wait(program: subprocess.Popen[bytes]) -> int:
    """Its exit status; 128 and the signal's number where a signal ended it."""
    status = program.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """In this process's group, so that the terminal is the program's as much as ours and its
    Ctrl-C and Ctrl-Z reach both. What is sent to this process is the program's to act on; what a
    terminal sends has reached it already. Raises `CannotRun`."""
    program: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if number in _FROM_TERMINAL and _in_foreground():
            return
        if program is None:
            early.append(number)
        else:
            program.send_signal(number)

    # Before it is started: a signal that comes in between is not to end us alone.
    before = {number: signal.signal(number, handle) for number in (*_FROM_TERMINAL, *_PASSED_ON)}
    try:
        program = _start(command, environment)
        for number in early:
            program.send_signal(number)
        yield program
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, env=environment)
    except OSError as error:
        said = f"{command[0]!r} cannot be run ({error.strerror}); name a program that can."
        raise CannotRun(said, NOT_EXECUTABLE) from error


def _in_foreground() -> bool:
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY)
    except OSError:  # there is none
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
