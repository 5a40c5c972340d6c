"""What goes wrong in a soak, one thing after another."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

from sessionbridge.claude.cli import guardian_program
from sessionbridge.cli.demo.scripted_api import Body, Failure, Reply, messages, usage_of
from tests.support.proxy import Proxy
from tests.support.scripted_api import ScriptedServer, _broken, _failure


class SoakApi(ScriptedServer):
    """Each answer is another, and takes its time; `failures` are given to the next that ask."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.failures: list[int] = []
        self._numbers = count(1)
        self._chance = chance

    async def _script(self, body: Body) -> Reply | Failure:
        status = self.failures.pop() if self.failures else None
        if status:
            return _failure(status, "")
        usage = usage_of(body, 9)
        if status == 0:
            return Reply(_broken(), usage)
        return Reply(self._slowly(f"Answer {next(self._numbers)} to {len(messages(body))}."), usage)

    async def _slowly(self, text: str) -> AsyncIterator[str]:
        for word in text.split(" "):
            yield f"{word} "
            await asyncio.sleep(self._chance.choice((0.0, 0.0, 0.02, 0.2)))


class Faults:
    """Each method is one. After it the proxy may be gone, which the caller looks after."""

    def __init__(self, api: SoakApi, chance: random.Random, clock: Path, disk: Path | None) -> None:
        self.survived: Counter[str] = Counter()
        self._api = api
        self._chance = chance
        self._clock = clock
        self._disk = disk

    def one(self, proxy: Proxy) -> str:
        """Lets one happen; its name."""
        fault = self._chance.choice(self._all())
        # What it is to happen to may have gone since it was chosen.
        with suppress(ProcessLookupError, FileNotFoundError, IndexError, sqlite3.Error):
            fault(proxy)
        name = fault.__name__.strip("_").replace("_", " ")
        self.survived[name] += 1
        return name

    def _all(self) -> list[Callable[[Proxy], None]]:
        often = [self._kill_a_cli, self._end_a_cli, self._fail_the_api, self._break_the_api]
        proxy = [self._kill_the_proxy, self._end_the_proxy, self._end_all, self._kill_all]
        guardian = [self._kill_the_guardian, self._kill_guardian_then_proxy]
        store = [self._lock_the_database, self._delete_the_database, self._spoil_the_database]
        disk = [self._fill_the_disk] if self._disk else []
        return [*often, *often, *proxy, *guardian, *store, *disk, self._turn_the_clock]

    # --- processes ----------------------------------------------------------------------------

    def _kill_a_cli(self, proxy: Proxy) -> None:
        os.kill(self._chance.choice(proxy.children()), signal.SIGKILL)

    def _end_a_cli(self, proxy: Proxy) -> None:
        os.kill(self._chance.choice(proxy.children()), signal.SIGTERM)

    def _kill_the_proxy(self, proxy: Proxy) -> None:
        _end(proxy, signal.SIGKILL)

    def _end_the_proxy(self, proxy: Proxy) -> None:
        _end(proxy, signal.SIGTERM)

    def _kill_the_guardian(self, proxy: Proxy) -> None:
        os.kill(guardians(proxy)[0], signal.SIGKILL)

    def _kill_guardian_then_proxy(self, proxy: Proxy) -> None:
        self._kill_the_guardian(proxy)
        left = proxy.children()
        _end(proxy, signal.SIGKILL)
        _kill(left, signal.SIGKILL)  # nobody else would

    def _end_all(self, proxy: Proxy) -> None:
        """As systemd stops a unit."""
        self._all_at_once(proxy, signal.SIGTERM)

    def _kill_all(self, proxy: Proxy) -> None:
        self._all_at_once(proxy, signal.SIGKILL)

    def _all_at_once(self, proxy: Proxy, number: signal.Signals) -> None:
        others = [*proxy.children(), *guardians(proxy)]
        _kill([proxy.process.pid, *others], number)
        _end(proxy, number)
        _kill(others, signal.SIGKILL)

    # --- files --------------------------------------------------------------------------------

    def _lock_the_database(self, proxy: Proxy) -> None:
        with closing(sqlite3.connect(proxy.database, timeout=5, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            time.sleep(self._chance.uniform(0.5, 3))
            db.rollback()

    def _delete_the_database(self, proxy: Proxy) -> None:
        for file in proxy.database.parent.glob(f"{proxy.database.name}*"):
            if not file.name.endswith(".lock"):
                file.unlink(missing_ok=True)

    def _spoil_the_database(self, proxy: Proxy) -> None:
        with proxy.database.open("r+b") as file:
            file.seek(100)
            file.write(os.urandom(4096))

    def _fill_the_disk(self, proxy: Proxy) -> None:
        assert self._disk is not None
        filler = self._disk / "filler"
        try:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 4096)
            time.sleep(self._chance.uniform(0.5, 3))
        finally:
            filler.unlink()

    # --- the world ----------------------------------------------------------------------------

    def _fail_the_api(self, proxy: Proxy) -> None:
        self._api.failures.append(self._chance.choice((429, 500, 529)))

    def _break_the_api(self, proxy: Proxy) -> None:
        self._api.failures.append(0)

    def _turn_the_clock(self, proxy: Proxy) -> None:
        self._clock.write_text(str(self._chance.randint(-86_400, 86_400)))


@contextmanager
def disk_of_its_own(folder: Path, size: str = "600m") -> Iterator[Path | None]:
    """A file system on the folder that may be filled; None where it cannot be had."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def guardians(proxy: Proxy) -> list[int]:
    """They are nobody's children; the other end of their standard input is in the proxy."""
    pid = proxy.process.pid
    pipes = {_link(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            with suppress(OSError):
                program = guardian_program.__file__.encode() in (place / "cmdline").read_bytes()
                if program and _link(place / "fd" / "0") in pipes:
                    found.append(int(place.name))
    return found


def _link(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:
        return ""


def _end(proxy: Proxy, number: signal.Signals) -> None:
    proxy.process.send_signal(number)
    try:
        proxy.process.wait(60)
    except subprocess.TimeoutExpired as error:
        proxy.process.send_signal(signal.SIGUSR1)  # see soak_clock
        time.sleep(1)
        error.add_note(proxy.log[-20_000:])
        raise
    finally:
        proxy.process.kill()


def _kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
