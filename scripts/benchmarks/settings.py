"""What a conversation waits for whose settings nobody has asked with before: at its first turn, and
when they change from one turn to the next."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from scripts.benchmarks.figures import Benchmark, Figure, Options, median
from scripts.benchmarks.latency import (
    COLD,
    STARTED,
    WARM,
    Renewed,
    Times,
    benchmark_of,
    by_turns,
    cold_start,
    summary,
)
from scripts.benchmarks.place import SPARES, Place
from scripts.benchmarks.processes import spares_of
from scripts.benchmarks.talks import BareTalk, ProxyTalk, Talk
from tests.support.proxy import DOOR, ROOT, Proxy, free_port

MODEL = "claude-opus-5-5"
"""It takes all of them."""


def _tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"Does {name}.", "input_schema": {"type": "object"}}


BEGUN: Mapping[str, Any] = {"model": MODEL, "tools": [_tool("look")]}
CHANGED: Mapping[str, Callable[[int], Mapping[str, Any]]] = {
    "nothing": lambda turn: {},
    "system": lambda turn: {"system": f"Be brief. It is 12:{turn % 60:02}."},
    "max_tokens": lambda turn: {"max_tokens": 1000 + turn},
    "effort": lambda turn: {"output_config": {"effort": ("low", "medium")[turn % 2]}},
    "tools": lambda turn: {"tools": [_tool("look"), _tool("see")][: 1 + turn % 2]},
}


async def changed(place: Place, options: Options) -> list[Figure]:
    with versions(place, options) as proxies:
        contestants = {
            label(version, kind): Renewed(begin_changing(proxy.http(), change))
            for version, proxy in proxies.items()
            for kind, change in CHANGED.items()
        }
        times = await by_turns(contestants, options.rounds_or(WARM), options.say)
    figures = []
    for kind in CHANGED:
        if kind != "nothing":
            ratios = {
                label(version, "ratio"): ratio(
                    times, label(version, kind), label(version, "nothing")
                )
                for version in proxies
            }
            name = f"warm turn with changed {kind}, against an unchanged one"
            figures.append(_at_most(name, ratios, 1.5, rounds=len(times["nothing"])))
    return figures


async def first(place: Place, options: Options) -> list[Figure]:
    """Each time with a system prompt that nobody has asked with before."""

    async def raw() -> float:
        return await cold_start(BareTalk(place))

    await raw()  # the machine has read the CLI's files once
    with versions(place, options) as proxies:
        for proxy in proxies.values():
            # From the first conversation on an earlier version knows what to have ready.
            await ProxyTalk(proxy.http(), **BEGUN).ask()
        ours = {version: FirstTurn(proxy) for version, proxy in proxies.items()}
        rounds = options.rounds_or(STARTED)
        times = await by_turns({**ours, "raw": raw}, rounds, options.say)
    ratios = {label(version, "ratio"): ratio(times, version, "raw") for version in ours}
    name = "first turn, system prompt never seen, against a raw start of the CLI"
    return [_at_most(name, ratios, 0.4, **summary(times))]


async def very_first(place: Place, options: Options) -> list[Figure]:
    async def raw() -> float:
        return await cold_start(BareTalk(place))

    contestants = {version: WithItsPort(place, version, door) for version, door in doors(options)}
    await raw()  # the machine has read the files once
    for contestant in contestants.values():
        await contestant()  # its CA is made
    rounds = options.rounds_or(COLD)
    times = await by_turns({**contestants, "raw": raw}, rounds, options.say)
    ratios = {label(version, "ratio"): ratio(times, version, "raw") for version in contestants}
    name = "very first turn, asked when the port opens, against a raw start of the CLI"
    return [_at_most(name, ratios, 1.2, **summary(times))]


async def second(place: Place, options: Options) -> list[Figure]:
    """At once after a first turn, whose process may just be replaced."""
    with place.proxy("with", live="10") as ours, place.proxy("without", live="10", spare="0") as no:
        contestants = {"with": SecondTurn(ours, 4), "without": SecondTurn(no, 0)}
        times = await by_turns(contestants, options.rounds_or(STARTED), options.say)
    name = "second turn of a first conversation, with spares against without"
    return [_at_most(name, {"ratio": ratio(times, "with", "without")}, 1.1, **summary(times))]


async def at_once(place: Place, options: Options) -> list[Figure]:
    with place.proxy("proxy", live="10") as proxy:
        contestants = {"alone": AtOnce(proxy, 1), "four": AtOnce(proxy, 4)}
        times = await by_turns(contestants, options.rounds_or(STARTED), options.say)
    name = "four new conversations at once, the slowest first token, against one alone"
    return [_at_most(name, {"ratio": ratio(times, "four", "alone")}, 2.5, **summary(times))]


class Changing:
    """A conversation each turn of which changes something."""

    def __init__(self, http: httpx.Client, change: Callable[[int], Mapping[str, Any]]) -> None:
        self._talk = ProxyTalk(http, **BEGUN)
        self._change = change
        self._turns = count()

    async def ask(self) -> float:
        return await self._talk.ask(**self._change(next(self._turns)))

    async def close(self) -> None:
        await self._talk.close()


def begin_changing(
    http: httpx.Client, change: Callable[[int], Mapping[str, Any]]
) -> Callable[[], Coroutine[None, None, Talk]]:
    async def begin() -> Talk:
        return Changing(http, change)

    return begin


class FirstTurn:
    """A conversation that is new each time, begun when the proxy has a process for it."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._http = proxy.http()

    async def __call__(self) -> float:
        await spares_of(self._proxy, 1)
        return await ProxyTalk(self._http, **BEGUN, system=f"You are {uuid4()}.").ask()


class WithItsPort:
    """A proxy that is started each time, and asked as soon as it can be connected to."""

    def __init__(self, place: Place, version: str, door: Path) -> None:
        self._place = place
        self._version = version
        self._door = door

    async def __call__(self) -> float:
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> float:
        port = free_port()
        mode = ("--mode", f"reverse:{self._place.api}@{port}")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(_asked_when_open, port)
            with self._place.proxy(self._version, *mode, door=self._door, live="10"):
                return asked.result()


def _asked_when_open(port: int, patience: float = 60) -> float:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.002)
    with httpx.Client(timeout=60, trust_env=False) as http:
        talk = ProxyTalk(http, **BEGUN, url=f"http://127.0.0.1:{port}")
        return asyncio.run(talk.ask())


class SecondTurn:
    def __init__(self, proxy: Proxy, spares: int) -> None:
        self._proxy = proxy
        self._http = proxy.http()
        self._spares = spares

    async def __call__(self) -> float:
        await spares_of(self._proxy, self._spares)
        talk = ProxyTalk(self._http, **BEGUN)
        await talk.ask()
        return await talk.ask()


class AtOnce:
    def __init__(self, proxy: Proxy, number: int) -> None:
        self._proxy = proxy
        self._http = proxy.http()
        self._number = number

    async def __call__(self) -> float:
        await spares_of(self._proxy, int(SPARES))
        talks = [ProxyTalk(self._http, **BEGUN) for _ in range(self._number)]
        return max(await asyncio.gather(*(talk.ask() for talk in talks)))


def doors(options: Options) -> Iterator[tuple[str, Path]]:
    yield "now", DOOR
    if options.before is not None:
        yield "before", options.before.absolute() / DOOR.relative_to(ROOT)


@contextmanager
def versions(place: Place, options: Options) -> Iterator[Mapping[str, Proxy]]:
    with ExitStack() as stack:
        yield {
            version: stack.enter_context(place.proxy(version, door=door, live="12"))
            for version, door in doors(options)
        }


def label(version: str, name: str) -> str:
    return name if version == "now" else f"{name}_{version}"


def ratio(times: Times, one: str, other: str) -> float:
    return round(median(times[one]) / median(times[other]), 2)


def _at_most(
    name: str, ratios: Mapping[str, float], limit: float, **measured: int | float
) -> Figure:
    return Figure(name, {**ratios, **measured}, f"ratio ≤ {limit}", ratios["ratio"] <= limit)


BENCHMARKS: dict[str, Benchmark] = {
    "changed": benchmark_of(changed),
    "first": benchmark_of(first),
    "very-first": benchmark_of(very_first),
    "second": benchmark_of(second),
    "at-once": benchmark_of(at_once),
}
