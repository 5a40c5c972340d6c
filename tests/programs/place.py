"""Where a program runs as its users run it: a home and a working folder of its own, no network.

Programs ask for updates, send statistics and fetch what they have not brought along. Their settings
turn some of that off; that none of it leaves the machine is seen to here.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

PACKAGES = Path(__file__).parent / "node_modules"
NOTE = "the note says 42"

_COMMANDS = PACKAGES / ".bin"
_STAMP = PACKAGES / ".sessionbridge"
_SECONDS = 60
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def needed(name: str, node: int = 0) -> str:
    """The path of a program, as npm installed it; skips the test where it is not there, or Node is
    older than it can do with."""
    wanted = PACKAGES.parent / "package.json"
    stamp = _STAMP.read_text("utf-8") if _STAMP.exists() else ""
    if stamp != wanted.read_text("utf-8") or not (PACKAGES / name).exists():
        pytest.skip(f"needs {name} of npm: scripts/setup-programs")
    version = subprocess.check_output(["node", "--version"], env={"PATH": _path()}, text=True)
    if int(version.strip().removeprefix("v").partition(".")[0]) < node:
        pytest.skip(f"{name} needs Node {node}; there is {version.strip()}")
    return str(PACKAGES / name)


@contextmanager
def without_network() -> Iterator[None]:
    """Leaves this thread, and every thread and process it starts, nothing but a loopback of their
    own; skips the test where that is not allowed."""
    if not hasattr(os, "unshare"):
        pytest.skip("needs network namespaces, which Linux has")
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        try:
            os.unshare(os.CLONE_NEWNET)
        except OSError as error:
            pytest.skip(f"no network namespace ({error}): run it by unshare --map-root-user --net")
        try:
            with socket.socket() as any_socket:
                up = struct.pack("16sh14x", b"lo", _IFF_UP)
                fcntl.ioctl(any_socket, _SIOCSIFFLAGS, up)
            assert [name for _, name in socket.if_nameindex()] == ["lo"]
            yield
        finally:
            os.setns(before, os.CLONE_NEWNET)
    finally:
        os.close(before)


class Dialogue:
    """A program that is talked to in lines of JSON; at their end it ends."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors

    def say(self, message: Mapping[str, Any]) -> None:
        self._input.write(json.dumps(message) + "\n")
        self._input.flush()

    def hear(self, last: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What it says, up to the message that holds all of `last`."""
        assert self._process.stdout is not None
        heard = []
        for line in self._process.stdout:
            if line.startswith("{"):
                heard.append(json.loads(line))
                if last.items() <= heard[-1].items():
                    return heard
        raise AssertionError(f"it ended before {last}: {heard}\n{self._errors.read_text('utf-8')}")

    def end(self) -> None:
        self._input.close()
        assert self._process.wait(_SECONDS) == 0, self._errors.read_text("utf-8")

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin


@dataclass(frozen=True, slots=True)
class Place:
    """`home` is empty at first; in the working folder there is a note to read."""

    home: Path
    work: Path
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> None:
        """A file in the home, settings for example."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def run(self, *command: str) -> str:
        """What a program prints that is given no input; it must end well."""
        process = self._start(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with _bounded(process):
            printed, errors = process.communicate()
        assert process.returncode == 0, f"{process.returncode}: {printed}\n{errors}"
        return printed

    @contextmanager
    def talking(self, *command: str) -> Iterator[Dialogue]:
        errors = self.home / "stderr.txt"
        with errors.open("wb") as file:
            process = self._start(command, stdin=subprocess.PIPE, stderr=file)
        with process, _bounded(process):
            dialogue = Dialogue(process, errors)
            yield dialogue
            dialogue.end()

    def left(self) -> list[int]:
        """Processes that have this home and still run, whatever their parent and group."""
        mark = f"HOME={self.home}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def clear(self) -> None:
        """Some start a daemon for later; none outlives the test."""
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _start(self, command: Sequence[str], stdin: int, stderr: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.work,
            env=self._environment(),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        """An allow-list: nothing of the machine's keys, proxies and settings gets in."""
        return {
            "PATH": _path(),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local" / "share"),
            "XDG_STATE_HOME": str(self.home / ".local" / "state"),
            "TMPDIR": str(self.home / "tmp"),
            "LANG": "C.UTF-8",
            **self.variables,
        }


def _path() -> str:
    """Node is the one that came with the programs, where one is packaged for this machine."""
    return f"{_COMMANDS}:{os.environ['PATH']}"


@contextmanager
def _bounded(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends it with its whole group when time is up, or when the test goes on without it."""

    def end() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(_SECONDS, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        end()
