"""The proxy under load: traffic that is not ours, many turns after each other, many at once."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from scripts.benchmarks import streams
from scripts.benchmarks.asking import ask, request
from scripts.benchmarks.figures import Benchmark, Figure, Options
from scripts.benchmarks.inside.ticking import Score
from scripts.benchmarks.passthrough import passthrough
from scripts.benchmarks.proxies import INSIDE, Mitmdump, mitmdump
from scripts.benchmarks.transparent import transparent

FEW, MANY = 100, 1000
GROWTH = 10.0
AT_ONCE = 8
TURNS_OF_A_SESSION = 5
_NOWHERE = "http://127.0.0.1:9"
"""Bridged requests need no upstream that can be reached."""
_SETTLED = 1.0


def load(options: Options) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield from measure(Path(folder), options)


def measure(
    folder: Path,
    options: Options,
    few: int = FEW,
    many: int = MANY,
    wanted: streams.Load | None = None,
) -> Iterator[Figure]:
    """The memory first: a proxy that has been through the load would have room left by it."""
    wanted = wanted or streams.Load()
    settings = {"concurrency": str(wanted.streams)}
    with mitmdump(folder / "home", f"reverse:{_NOWHERE}@0", door=INSIDE, options=settings) as proxy:
        yield asyncio.run(_memory(proxy, few, many, options))
        options.say(f"{wanted.streams} streams at once")
        seen = asyncio.run(streams.stream(proxy, wanted))
        yield from streams.figures(seen, wanted)


async def _memory(proxy: Mitmdump, few: int, many: int, options: Options) -> Figure:
    before = proxy.resident_mb()
    resident = []
    done = 0
    for turns in (few, many):
        options.say(f"{turns} turns one after another, {AT_ONCE} sessions at a time")
        await _turns(proxy.port, done, turns)
        await asyncio.sleep(_SETTLED)
        done = turns
        resident.append(proxy.resident_mb())
    kept = _committed(proxy.database)
    if kept != many:
        raise RuntimeError(f"{kept} of {many} turns were committed")
    growth = (resident[1] / resident[0] - 1) * 100
    return Figure(
        f"memory, {many} turns after {few}",
        {f"after_{few}_mb": resident[0], f"after_{many}_mb": resident[1], "growth_%": growth},
        f"growth ≤ {GROWTH:g} %",
        growth <= GROWTH,
        (
            f"resident size of mitmdump, {before:.0f} MB before the first turn",
            f"a connection for each turn, a new session after {TURNS_OF_A_SESSION}, "
            "some answers streamed and some not",
        ),
    )


async def _turns(port: int, first: int, end: int) -> None:
    """The turns numbered from `first` to before `end`; those of a session one after another."""
    sessions = iter(range(first // TURNS_OF_A_SESSION, end // TURNS_OF_A_SESSION))

    async def worker() -> None:
        for session in sessions:
            for turn in range(TURNS_OF_A_SESSION):
                score = Score(4, 0.0)
                asked = request(f"memory-{session}", (), score, stream=turn % 2 == 0)
                await ask(port, asked)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())


def _committed(database: Path) -> int:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM turns").fetchone()[0])


BENCHMARKS: dict[str, Benchmark] = {
    "passthrough": passthrough,
    "transparent": transparent,
    "load": load,
}
