"""mitmdumps that begin where their imports end.

To import mitmproxy, the SDK and the bridge takes three seconds of processor time, and the tests
start hundreds. So each process of pytest's has one server that has imported them, and forks: what
then runs is mitmdump's own `main`, with arguments, environment, folder and output of its own.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

_PRELOADED = (
    "mitmproxy.tools.dump",
    "claude_agent_sdk",
    "psycopg_pool",
    "sessionbridge.dashboard.pages",
    "sessionbridge.proxy.admin",
    "sessionbridge.turns.runtime",
)
"""All but the module of the addon itself, whose import makes it."""

_OF_ALL = ("PATH", "HOME", "LANG", "PYTHONUNBUFFERED", "PGPASSWORD")
_OF_TESTS = ("CLAUDE_", "SESSIONBRIDGE_", "RECORDER_", "KEY_")
"""How variables begin that no import asks for, or that the server has as well."""


class Process(Protocol):
    """What tests use of `subprocess.Popen`."""

    pid: int

    @property
    def returncode(self) -> Any: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """A process whose parent is the server, which tells on `status` how it has ended."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        if (code := self._ended(timeout)) is None:
            raise subprocess.TimeoutExpired(f"mitmdump {self.pid}", timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and _is_told(self._status, timeout):
                self.returncode = int(os.read(self._status, 16))
                os.close(self._status)
        return self.returncode


def start(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: int
) -> Process | None:
    """None where it has to begin from its beginning: elsewhere on the network, with variables that
    Python or a library reads as it starts, or where there are no descriptors of processes."""
    late = all(name.startswith(_OF_ALL + _OF_TESTS) for name in environment)
    if not late or not _has_descriptors() or _namespace() != _AT_HOME:
        return None
    return _server().start(command, cwd, environment, log)


class _Server:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: int
    ) -> Forked:
        status, theirs = os.pipe()
        told = json.dumps([list(command), str(cwd), dict(environment)]).encode()
        try:
            with self._lock:
                socket.send_fds(self._socket, [len(told).to_bytes(4)], [log, theirs])
                self._socket.sendall(told)
                return Forked(int.from_bytes(_exactly(self._socket, 4)), status)
        finally:
            os.close(theirs)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _server() -> _Server:
    return _Server()


@cache
def _has_descriptors() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _namespace() -> str:
    return os.readlink("/proc/thread-self/ns/net")


_AT_HOME = _namespace() if _has_descriptors() else ""


def _is_told(descriptor: int, timeout: float | None) -> bool:
    """Whatever its number is; seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        assert part, "the server of warm starts has ended"
        found += part
    return found


def _serve(connection: socket.socket) -> list[str]:
    """Returns in the process that is to become a mitmdump: its arguments."""
    asked = connection.fileno()
    running: dict[int, tuple[int, int]] = {}  # pid and where its end is told, by pidfd
    while True:
        ready, _, _ = select.select([asked, *running], [], [])
        for ended in set(ready) - {asked}:
            pid, status = running.pop(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.close(ended)
            os.write(status, str(code).encode())
            os.close(status)
        if asked not in ready:
            continue
        head, passed, _, _ = socket.recv_fds(connection, 4, 2)
        if not head:
            sys.exit()
        log, status = passed
        command, cwd, environment = json.loads(_exactly(connection, int.from_bytes(head)))
        if (pid := os.fork()) == 0:
            others = [end for _, end in running.values()]
            _become(cwd, environment, log, [connection.detach(), status, *running, *others])
            return list(command)
        os.close(log)
        running[os.pidfd_open(pid)] = pid, status
        connection.sendall(pid.to_bytes(4))


def _become(cwd: str, environment: dict[str, str], log: int, others: Sequence[int]) -> None:
    os.dup2(log, 1)
    os.dup2(log, 2)
    for descriptor in [log, *others]:
        os.close(descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)


def main() -> None:
    # As a script of the environment's has it.
    sys.path[0] = str(Path(sys.executable).parent)
    for name in _PRELOADED:
        import_module(name)
    gc.freeze()
    sys.argv = _serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(import_module("mitmproxy.tools.main").mitmdump())


if __name__ == "__main__":
    main()
