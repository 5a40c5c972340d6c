"""Nothing outlives the proxy: real processes, real signals, and once the real CLI in mid-turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.cli import guardian_program
from tests.support.proxy import ROOT, Proxy, running_proxy, said, wait_for
from tests.support.scripted_api import ScriptedServer, assistant, user

PARENT = """
import asyncio, logging, os, signal, subprocess, sys
from sessionbridge.claude.cli.guardian import GUARDIAN

STUBBORN = '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(60)
'''

def child():
    process = subprocess.Popen(
        [sys._base_executable, "-c", STUBBORN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()
    children.append(process)
    return process.pid

async def main():
    for line in sys.stdin:
        match line.split():
            case ["watch"]:
                pid = child()
                await GUARDIAN.watch(pid)
                print(pid, flush=True)
            case ["forget", pid]:
                GUARDIAN.forget(int(pid))
                print("forgotten", flush=True)
            case ["die"]:
                pid = child()
                print(pid, flush=True)
                watching = asyncio.create_task(GUARDIAN.watch(pid))
                await asyncio.sleep(0)
                os.kill(os.getpid(), signal.SIGKILL)

children = []
logging.basicConfig(format="%(message)s")
sys.executable = sys.argv[1]
asyncio.run(main())
"""
"""Stands for the proxy: has processes watched that end on nothing but SIGKILL."""


def runs(pid: int) -> bool:
    """Not so a process that has ended and is not reaped, for want of a parent that does."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def links(pid: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed in the meantime
            found[number] = os.readlink(f"/proc/{pid}/fd/{number}")
    return found


def guardians(parent: int) -> list[int]:
    """The guardians whose standard input comes from that process."""
    pipes, found = set(links(parent).values()), []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            if guardian_program.__file__.encode() in words and links(int(place.name))["0"] in pipes:
                found.append(int(place.name))
    return found


def gone(*pids: int) -> bool:
    return not any(map(runs, pids))


class Parent:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.watched: list[int] = []

    def say(self, command: str) -> str:
        assert self.process.stdin and self.process.stdout
        print(command, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def watch(self, command: str = "watch") -> int:
        self.watched.append(int(self.say(command)))
        return self.watched[-1]

    @property
    def guardian(self) -> int:
        (pid,) = guardians(self.process.pid)
        return pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> str:
        """As it would of its own; returns what it logged."""
        _, logged = self.process.communicate()
        return logged


@contextmanager
def parent(executable: str = sys.executable) -> Iterator[Parent]:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, executable],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT / "addon")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    made = Parent(process)
    try:
        yield made
    finally:
        process.kill()
        for pid in made.watched:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def test_what_is_watched_ends_with_a_parent_that_is_killed() -> None:
    with parent() as proxy:
        pids = [proxy.watch() for _ in range(3)]
        guardian = proxy.guardian
        proxy.kill()
        wait_for(lambda: gone(*pids, guardian), "all of them to be gone")


def test_it_ends_too_if_the_parent_is_killed_while_the_guardian_starts() -> None:
    with parent() as proxy:
        pid = proxy.watch("die")
        proxy.process.wait()
        wait_for(lambda: gone(pid), "it to be gone")


def test_what_has_ended_is_not_killed() -> None:
    """Its pid may be another's by now; here it is one that was only said to have ended."""
    with parent() as proxy:
        forgotten, watched = proxy.watch(), proxy.watch()
        proxy.say(f"forget {forgotten}")
        guardian = proxy.guardian
        proxy.kill()
        wait_for(lambda: gone(watched, guardian), "the others to be gone")
        assert runs(forgotten)


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    with parent() as proxy:
        pid = proxy.watch()
        since = guardian_program.started(pid)
        assert since is not None and since == guardian_program.started(pid)
        assert since != guardian_program.started(os.getpid())
        os.kill(pid, signal.SIGKILL)
        proxy.kill()
        wait_for(lambda: gone(pid), "it to be gone")


def test_the_guardian_ends_with_a_parent_that_ends_by_itself() -> None:
    with parent() as proxy:
        proxy.say(f"forget {proxy.watch()}")
        guardian = proxy.guardian
        assert proxy.end() == ""
        wait_for(lambda: gone(guardian), "the guardian to be gone")


def test_the_guardian_is_nobodys_child_and_holds_nothing_open() -> None:
    """Whoever reads what the proxy prints to its end must not wait for the guardian."""
    with parent() as proxy:
        proxy.watch()
        process = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
        assert [int(pid) for pid in process.read_text().split()] == proxy.watched
        open_files = links(proxy.guardian)
        assert open_files.pop("0").startswith("pipe:")
        assert open_files == {"1": os.devnull, "2": os.devnull}
        assert Path(f"/proc/{proxy.guardian}/cwd").readlink() == Path("/")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signals_do_not_keep_the_guardian_from_its_work(number: signal.Signals) -> None:
    with parent() as proxy:
        pid, guardian = proxy.watch(), proxy.guardian
        os.kill(guardian, number)
        os.killpg(proxy.process.pid, number)  # a Ctrl-C, or the terminal was closed
        proxy.kill()
        wait_for(lambda: gone(pid, guardian), "both to be gone")


def test_a_guardian_that_dies_ends_nothing_and_has_a_successor() -> None:
    with parent() as proxy:
        pids = [proxy.watch(), proxy.watch()]
        for _ in range(2):
            guardian = proxy.guardian
            os.kill(guardian, signal.SIGKILL)
            wait_for(partial(gone, guardian), "the guardian to be gone")
            pids.append(proxy.watch())
        assert all(map(runs, pids))
        proxy.kill()
        assert proxy.end().count("their guardian has died") == 1
        wait_for(lambda: gone(*pids), "those its predecessors knew to be gone too")


@pytest.mark.parametrize(
    ("executable", "reason"),
    [
        ("/nowhere/python", "could not be started (No such file or directory)"),
        ("/bin/false", "could not be started (exit code 1)"),
    ],
)
def test_without_a_guardian_all_goes_on_with_one_warning(executable: str, reason: str) -> None:
    with parent(executable) as proxy:
        pids = [proxy.watch(), proxy.watch()]
        proxy.say(f"forget {pids[0]}")
        assert all(map(runs, pids))
        assert [line for line in proxy.end().splitlines() if "guardian" in line] == [
            f"Claude CLIs may outlive a proxy that is killed: their guardian {reason}"
        ]


def kill_in_mid_answer(proxy: Proxy, api: ScriptedServer, stream: Any) -> None:
    with stream:
        api.wait_until_held("proxy-killed")
        (guardian,), clis = guardians(proxy.process.pid), proxy.children()
        assert clis
        proxy.process.kill()
        proxy.process.wait()
        wait_for(lambda: gone(guardian, *clis), "the CLI and the guardian to be gone")


def test_a_proxy_killed_in_mid_turn_leaves_nothing_and_its_successor_goes_on(
    tmp_path: Path, api: ScriptedServer
) -> None:
    headers = {"X-OpenClaw-Session": "proxy-killed"}
    history = [user("My name is Nora.")]
    with running_proxy(tmp_path, api.url) as proxy:
        client = proxy.anthropic(headers)
        first = said(client.messages.create(model="sonnet", max_tokens=100, messages=history))
        history.append(assistant(first))
        waiting = [*history, user("Wait. [gate proxy-killed]")]
        stream = client.messages.stream(model="sonnet", max_tokens=100, messages=waiting)
        kill_in_mid_answer(proxy, api, stream)
    api.open_gate("proxy-killed")

    question = "Who am I? (proxy-killed)"
    with running_proxy(tmp_path, api.url) as proxy:
        answer = proxy.anthropic(headers).messages.create(
            model="sonnet", max_tokens=100, messages=[*history, user(question)]
        )
    assert said(answer) == "Your name is Nora."
    shown = [("user", "My name is Nora."), ("assistant", first), ("user", question)]
    assert api.seen(question) == [shown]
