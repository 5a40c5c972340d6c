"""A proxy for one program: started for it, and ended with it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sessionbridge.claude.cli.guardian import launch
from sessionbridge.cli.mitm import HOST, Mitm
from sessionbridge.cli.running_bridge import NoBridge, is_bridge
from sessionbridge.disk import private, private_folder

_STARTING = 60.0
_ENDING = 40.0
"""Seconds; mitmproxy waits for turns under way."""

_ERROR = re.compile(r"(?:[\w.]+(?:Error|Exception)|\S*mitmdump): (.+)")
"""The last line of a traceback, or what mitmproxy says of its options as it ends."""


@contextmanager
def started(mitm: Mitm, *arguments: str) -> Iterator[None]:
    """A mitmdump that answers as a bridge; it is ended again, also when this process is killed.
    Raises `NoBridge`, and OSError where its log cannot be written."""
    with _log(mitm.home) as log:
        process = subprocess.Popen(
            mitm.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is for the program alone
        )
        with guarded(process.pid):
            try:
                _wait_for(process, mitm.port, log)
                yield
            finally:
                _end(process)


@contextmanager
def guarded(pid: int) -> Iterator[None]:
    """This process is killed when we are."""
    launcher, pipe = launch([pid])
    try:
        yield
    finally:
        os.close(pipe)
        launcher.wait()


def free_ports(count: int) -> list[int]:
    with_ports = [socket.create_server((HOST, 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in with_ports]
    finally:
        for one in with_ports:
            one.close()


def _log(home: Path) -> IO[bytes]:
    """Errors that a program is told point there. One that another proxy still writes stays its."""
    private_folder(home)
    file = home / "exec.log"
    file.unlink(missing_ok=True)
    return open(file, "w+b", opener=private)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    """It listens before it has loaded the addon, and answers after that."""
    deadline = time.monotonic() + _STARTING
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if is_bridge(port, "regular", deadline - time.monotonic()):
                return
            break
        except ConnectionRefusedError:
            time.sleep(0.01)  # nothing tells when it listens
        except OSError:
            break
    log.seek(0)
    why = _why(log.read().decode(errors="replace"))
    raise NoBridge(f"The proxy could not be started: {why}; try  sessionbridge run --dump.")


def _why(log: str) -> str:
    """The last error in it: an addon whose options are wrong stays loaded, and more is logged."""
    lines = log.strip().splitlines() or ["it says nothing"]
    errors = [found[1] for line in lines if (found := _ERROR.match(line))]
    return (errors or lines)[-1].rstrip(".")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
