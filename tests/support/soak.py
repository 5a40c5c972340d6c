"""Conversations that go on while things go wrong: none may be lost, doubled or mixed up."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.long_run import Outcome
from tests.support.proxy import Proxy, running_proxy
from tests.support.soak_clients import Lost, Talk, conversations
from tests.support.soak_faults import Faults, SoakApi

_CLOCK = Path(__file__).with_name("soak_clock")
_OPTIONS = {"memory_lost": "error", "live": "8", "first_token_timeout": "60"}


@dataclass(frozen=True, slots=True)
class State:
    """Of the proxy at rest. Memory in bytes; `files` are all in its home and Claude's folder but
    for the transcripts and what is beside them."""

    memory: int
    descriptors: int
    processes: int
    files: int


@dataclass
class Soak(Outcome):
    start: State | None = None
    end: State | None = None


class _Keeper:
    """The proxy that runs now: begun again whenever it has ended."""

    def __init__(self, home: Path, api: SoakApi, clock: Path) -> None:
        self._home = home
        self._api = api
        self._env = {"SOAK_CLOCK": str(clock), "PYTHONPATH": str(_CLOCK)}
        self._stack = ExitStack()

    def start(self) -> None:
        """The proxy before has ended, or ends now."""
        self._stack.close()
        running = running_proxy(
            self._home, self._api.url, options=_OPTIONS, env=self._env, recorded=False
        )
        self.proxy = self._stack.enter_context(running)
        limits = httpx.Limits(max_connections=None)
        self.client: httpx.Client = self.proxy.http(limits=limits)

    def look_after(self) -> None:
        if self.proxy.process.poll() is not None:
            self.start()

    def close(self) -> None:
        self._stack.close()


def soak(
    home: Path,
    *,
    seconds: float,
    talks: int = 50,
    at_once: int = 6,
    turns: int = 0,
    every: float = 2.0,
    seed: int = 0,
    disk: Path | None = None,
    tell: Callable[[Soak, str], None] = lambda soak, fault: None,
) -> Soak:
    """`talks` conversations, `at_once` of them at any time, with a fault `every` so many seconds;
    for `seconds`, and until so many `turns` were answered, however slow the machine is. `disk` is
    the root of a file system of their own that may be filled."""
    chance = random.Random(seed)
    clock = home / "clock"
    result = Soak()
    waiting = conversations(talks, seed)
    ended = threading.Event()
    taking = threading.Lock()
    api = SoakApi(chance)
    with api, _kept(_Keeper(home, api, clock)) as keeper:
        faults = Faults(api, chance, clock, disk)

        def one_after_another() -> None:
            while not ended.is_set():
                with taking:
                    if not waiting:
                        return
                    talk = waiting.pop(chance.randrange(len(waiting)))
                if _takes_a_turn(talk, keeper, api, result, taking):
                    with taking:
                        waiting.append(talk)

        with ThreadPoolExecutor(at_once) as pool:
            running = [pool.submit(one_after_another) for _ in range(at_once)]
            result.start = _state(keeper.proxy, home)
            deadline = time.monotonic() + seconds
            try:
                while not any(f.done() for f in running):
                    if time.monotonic() > deadline and result.turns >= turns:
                        break
                    time.sleep(every)
                    fault = faults.one(keeper.proxy)
                    keeper.look_after()
                    result.faults = faults.survived
                    tell(result, fault)
            finally:
                ended.set()
            for future in running:
                future.result()
        result.end = _state(keeper.proxy, home)
    for talk in waiting:
        result.statuses += talk.faults
    return result


def _takes_a_turn(
    talk: Talk, keeper: _Keeper, api: SoakApi, result: Soak, counting: threading.Lock
) -> bool:
    """Whether it can go on."""
    try:
        answered = talk.turn(keeper.client, api)
    except (AssertionError, Lost) as error:
        with counting:
            result.broken[talk.name] = str(error)
        return False
    except (RuntimeError, httpx.ConnectError):  # the client was closed together with its proxy
        time.sleep(0.5)
        return True
    with counting:
        result.turns += answered
        result.unanswered += not answered
    if not answered:
        time.sleep(0.2)  # a client that is refused waits before it asks again
    return True


@contextmanager
def _kept(keeper: _Keeper) -> Iterator[_Keeper]:
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.close()


def _state(proxy: Proxy, home: Path) -> State:
    place = Path(f"/proc/{proxy.process.pid}")
    pages = int((place / "statm").read_text().split()[1])
    beside = {".jsonl", ".instructions", ".turns", ".log"}
    return State(
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        descriptors=len(list((place / "fd").iterdir())),
        processes=len(proxy.children()),
        files=sum(path.suffix not in beside for path in home.rglob("*") if path.is_file()),
    )
