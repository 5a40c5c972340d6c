"""Many streams at once: what a chunk waits on its way, and what holds the event loop up meanwhile.

The delays count from the moment when the last stream has begun until the first one ends, so that
always all of them are there; the loop is watched on until the last one has been committed. A delay
counts from when a chunk was due, so that what a held loop does to its own clocks is not hidden.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.asking import PATIENCE, Listener, Tick, listen, next_phase, request
from scripts.benchmarks.figures import Figure, percentile
from scripts.benchmarks.inside.ticking import Score
from scripts.benchmarks.proxies import Mitmdump

DELAY_MS = 100
HOLD_MS = 50
EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """`seconds` is how long all streams are to be there at once; `room` the seconds that beginning
    them may take."""

    streams: int = 200
    seconds: float = 6.0
    room: float = 6.0

    @property
    def score(self) -> Score:
        return Score(round((self.seconds + self.room) / EVERY), EVERY)


@dataclass(frozen=True, slots=True)
class Seen:
    """`beginning` and `streaming` are what the watch in the proxy saw in these two phases."""

    all_there: float
    heard: Sequence[Sequence[Tick]]
    begun_after: Sequence[float]
    beginning: dict[str, Any]
    streaming: dict[str, Any]

    def together(self) -> list[Tick]:
        """The ticks due while all streams were there."""
        first_end = min(ticks[-1].due for ticks in self.heard)
        return [t for ticks in self.heard for t in ticks if self.all_there <= t.due <= first_end]


async def stream(proxy: Mitmdump, load: Load) -> Seen:
    async with asyncio.timeout(load.room + load.seconds + PATIENCE):
        return await _streamed(proxy, load)


async def _streamed(proxy: Mitmdump, load: Load) -> Seen:
    await asyncio.to_thread(next_phase, proxy.port, "beginning")
    loop = asyncio.get_running_loop()
    started = loop.time()
    asked = [
        listen(proxy.port, request(f"stream-{n}", (), load.score, stream=True))
        for n in range(load.streams)
    ]
    listeners = await asyncio.gather(*asked)
    begun_after = await asyncio.gather(*(_begun(one, started) for one in listeners))
    beginning = await asyncio.to_thread(next_phase, proxy.port, "streaming")
    all_there = loop.time()
    await asyncio.gather(*(listener.ended for listener in listeners))
    await asyncio.sleep(0.5)  # what follows an answer belongs to the load
    streaming = await asyncio.to_thread(next_phase, proxy.port, "after")
    heard = [listener.ticks() for listener in listeners]
    missing = load.score.ticks * load.streams - sum(map(len, heard))
    if missing:
        raise RuntimeError(f"{missing} ticks were not heard")
    return Seen(all_there, heard, begun_after, beginning, streaming)


async def _begun(listener: Listener, started: float) -> float:
    await listener.begun
    return asyncio.get_running_loop().time() - started


def figures(seen: Seen, load: Load) -> Iterable[Figure]:
    ticks = seen.together()
    if not ticks:
        words = f"not all streams were there at once: beginning them took {load.room:g} s or more"
        yield Figure(_delay_name(load), words, f"p99 ≤ {DELAY_MS} ms", False)
    else:
        yield _delays(ticks, seen, load)
    yield _holds(seen, load)


def _delay_name(load: Load) -> str:
    return f"{load.streams} streams at once, delay of a chunk"


def _delays(ticks: Sequence[Tick], seen: Seen, load: Load) -> Figure:
    delays = [(tick.heard - tick.due) * 1000 for tick in ticks]
    way = [(tick.heard - tick.said) * 1000 for tick in ticks]
    p99 = percentile(delays, 99)
    begun = sorted(seen.begun_after)
    return Figure(
        _delay_name(load),
        {"p50_ms": percentile(delays, 50), "p99_ms": p99, "max_ms": max(delays)},
        f"p99 ≤ {DELAY_MS} ms",
        p99 <= DELAY_MS,
        (
            f"{len(ticks)} chunks, one each {EVERY * 1000:g} ms in each stream, reverse mode, "
            "scripted dispatcher; counted from when a chunk was due",
            f"counted from when it was said: p50 {percentile(way, 50):.1f}, "
            f"p99 {percentile(way, 99):.1f} ms",
            f"all asked at once, they began after {percentile(begun, 50):.2f} s (p50) to "
            f"{begun[-1]:.2f} s",
        ),
    )


def _holds(seen: Seen, load: Load) -> Figure:
    streaming, beginning = seen.streaming, seen.beginning
    longest = streaming["longest"][0]
    others = ", ".join(_said(hold) for hold in streaming["longest"][1:4])
    return Figure(
        f"{load.streams} streams at once, longest hold of the loop",
        {"wall_ms": longest["wall_ms"], "cpu_ms": streaming["busiest"][0]["cpu_ms"]},
        f"wall ≤ {HOLD_MS} ms",
        longest["wall_ms"] <= HOLD_MS,
        (
            f"longest: {_said(longest)}; then {others}",
            f"most computing: {_said(streaming['busiest'][0])}; where the processor time is the "
            "smaller one by far, the thread was not running: it was preempted, or another had the "
            "interpreter",
            f"{streaming['callbacks']:,} callbacks, the loop busy for "
            f"{streaming['busy_ms'] / streaming['seconds'] / 10:.0f} %, longest garbage collection "
            f"{streaming['gc_ms']:.1f} ms",
            f"while they began ({beginning['seconds']:.1f} s): {_said(beginning['longest'][0])}, "
            f"most computing {_said(beginning['busiest'][0])}",
        ),
    )


def _said(hold: dict[str, Any]) -> str:
    return f"{hold['wall_ms']:.1f} ms ({hold['cpu_ms']:.1f} of processor) {hold['who']}"
