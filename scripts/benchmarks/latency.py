"""What a client waits for: the time to the first piece of an answer, through the proxy and without.

The contestants take turns within one run, each time the other one first, and each begins when
nothing that was started here works any more: what the machine does besides hits both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

import httpx

from scripts.benchmarks.figures import Benchmark, Figure, Options, median, percentile
from scripts.benchmarks.place import Place, a_place
from scripts.benchmarks.processes import spares_of, still, without_cli
from scripts.benchmarks.talks import BareTalk, PrintTalk, ProxyTalk, Talk

WARM, STARTED, COLD = 50, 20, 7
"""Rounds: of what takes milliseconds, of what needs a process that was just started, and of what
starts one."""

_TURNS = 10
"""Of one conversation, so that it stays short; the first is not measured."""

type Contestant = Callable[[], Awaitable[float]]
type Times = Mapping[str, Sequence[float]]


async def warm_turn(place: Place, options: Options) -> list[Figure]:
    with place.proxy("proxy") as proxy:
        http = proxy.http()
        ours, bare = Renewed(begin_with(http)), Renewed(begin_bare(place))
        try:
            rounds = options.rounds_or(WARM)
            times = await by_turns({"proxy": ours, "bare": bare}, rounds, options.say)
        finally:
            await ours.close()
            await bare.close()
    return [difference("warm turn", times, p50=12, p99=40)]


async def warm_against_print(place: Place, options: Options) -> list[Figure]:
    with place.proxy("proxy") as proxy:
        http = proxy.http()

        async def begin() -> Talk:
            return PrintTalk(place)

        ours, printed = Renewed(begin_with(http)), Renewed(begin)
        rounds = options.rounds_or(COLD)
        times = await by_turns({"proxy": ours, "print": printed}, rounds, options.say)
    ratio = median(times["print"]) / median(times["proxy"])
    measured = {"times_faster": round(ratio, 1), **summary(times)}
    return [Figure("warm turn, against claude --print", measured, "≥ 18 times", ratio >= 18)]


async def imported(place: Place, options: Options) -> list[Figure]:
    async def cold() -> float:
        return await cold_start(BareTalk(place))

    await cold()  # the machine has read the CLI's files once
    with place.proxy("proxy") as proxy:
        http = proxy.http()

        async def ours() -> float:
            await spares_of(proxy, 1)
            return await ProxyTalk(http, earlier=10).ask()

        rounds = options.rounds_or(COLD)
        times = await by_turns({"proxy": ours, "cold": cold}, rounds, options.say)
    name = "import of 10 messages with a spare, against a cold start"
    return [quotient(name, times, "cold", 0.6)]


async def cold_resume(place: Place, options: Options) -> list[Figure]:
    known = BareTalk(place)
    await cold_start(known)

    async def bare() -> float:
        talk = BareTalk(place, resume=known.session, said=known.said)
        try:
            return await cold_start(talk)
        finally:
            known.said = talk.said

    with place.proxy("proxy", live="0", spare="0") as proxy:
        talk = ProxyTalk(proxy.http())

        async def ours() -> float:
            await without_cli(proxy)
            return await talk.ask()

        await ours()
        times = await by_turns({"proxy": ours, "bare": bare}, options.rounds_or(COLD), options.say)
    return [quotient("cold resume", times, "bare", 1.1)]


class Renewed:
    """A conversation that begins anew before it gets long."""

    def __init__(self, begin: Callable[[], Awaitable[Talk]]) -> None:
        self._begin = begin
        self._talk: Talk | None = None
        self._turns = 0

    async def __call__(self) -> float:
        if self._talk is None or self._turns == _TURNS:
            await self.close()
            self._talk = await self._begin()
            await self._talk.ask()
            self._turns = 1
            await still()
        self._turns += 1
        return await self._talk.ask()

    async def close(self) -> None:
        if self._talk is not None:
            await self._talk.close()


def begin_with(http: httpx.Client) -> Callable[[], Coroutine[None, None, Talk]]:
    async def begin() -> Talk:
        return ProxyTalk(http)

    return begin


def begin_bare(place: Place) -> Callable[[], Coroutine[None, None, Talk]]:
    async def begin() -> Talk:
        talk = BareTalk(place)
        await talk.connect()
        return talk

    return begin


async def cold_start(talk: BareTalk) -> float:
    """Seconds from nothing to the first piece of an answer."""
    begun = asyncio.get_running_loop().time()
    await talk.connect()
    connected = asyncio.get_running_loop().time()
    return connected - begun + await closed_after(talk)


async def closed_after(talk: Talk) -> float:
    try:
        return await talk.ask()
    finally:
        await talk.close()


async def by_turns(
    contestants: Mapping[str, Contestant], rounds: int, say: Callable[[str], None]
) -> Times:
    """Seconds of each contestant in each round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds):
        for name in names:
            await still()
            times[name].append(await contestants[name]())
        names.reverse()
        latest = ", ".join(f"{name} {values[-1] * 1000:.1f}" for name, values in times.items())
        say(f"{number + 1}/{rounds}, ms: {latest}")
    return times


def summary(times: Times) -> dict[str, int | float]:
    found: dict[str, int | float] = {"rounds": len(next(iter(times.values())))}
    for name, values in times.items():
        found[f"{name}_p50_ms"] = round(median(values) * 1000, 1)
        found[f"{name}_p99_ms"] = round(percentile(values, 99) * 1000, 1)
    return found


def difference(name: str, times: Times, p50: float, p99: float | None = None) -> Figure:
    """What the proxy adds to the bare client's time, in milliseconds."""
    numbers = summary(times)
    numbers["ratio"] = round(numbers["proxy_p50_ms"] / numbers["bare_p50_ms"], 2)
    added = {
        f"added_{which}_ms": round(numbers[f"proxy_{which}_ms"] - numbers[f"bare_{which}_ms"], 1)
        for which in ("p50", "p99")
    }
    reached = added["added_p50_ms"] <= p50 and (p99 is None or added["added_p99_ms"] <= p99)
    limit = f"≤ {p50} ms more (p50)" + (f", ≤ {p99} ms (p99)" if p99 is not None else "")
    return Figure(name, {**added, **numbers}, limit, reached)


def quotient(name: str, times: Times, other: str, limit: float) -> Figure:
    """The proxy's median as a part of the other contestant's."""
    ratio = median(times["proxy"]) / median(times[other])
    measured = {"ratio": round(ratio, 2), **summary(times)}
    return Figure(name, measured, f"≤ {limit} × {other}", ratio <= limit)


def benchmark_of(run: Callable[[Place, Options], Coroutine[None, None, list[Figure]]]) -> Benchmark:
    def benchmark(options: Options) -> Iterable[Figure]:
        with a_place() as place:
            figures = asyncio.run(run(place, options))
            return [figure.noting(*place.troubles) for figure in figures]

    return benchmark


BENCHMARKS: dict[str, Benchmark] = {
    "warm": benchmark_of(warm_turn),
    "print": benchmark_of(warm_against_print),
    "import": benchmark_of(imported),
    "cold": benchmark_of(cold_resume),
}
