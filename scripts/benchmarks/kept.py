"""What the APIs keep: how long a response takes that is asked for by its id, however many others
there are, and a turn that goes on with a thread."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import httpx

from scripts.benchmarks.figures import Benchmark, Figure, Options, percentile
from scripts.benchmarks.filling import fill
from scripts.benchmarks.latency import (
    WARM,
    Renewed,
    begin_with,
    benchmark_of,
    by_turns,
    quotient,
)
from scripts.benchmarks.place import Place
from scripts.benchmarks.processes import still
from scripts.benchmarks.talks import MODEL, Talk, ThreadTalk
from tests.support.proxy import free_port
from tests.support.scripted_api import assistant, user

SMALL, LARGE = 1_000, 100_000
LENGTH = 500
"""Messages of each conversation, with the answer."""

ROUNDS = 100
LIMIT_MS = 30.0
FLAT = 1.5
_CONVERSATIONS = 3
"""Asked for in turn: of the last two transcripts that were read some are known still."""


async def by_id(place: Place, options: Options) -> list[Figure]:
    with ExitStack() as stack:
        asked = {size: _responses(place, size, stack, options) for size in (SMALL, LARGE)}
        await still()
        times: dict[int, list[float]] = {size: [] for size in asked}
        for number in range(options.rounds_or(ROUNDS)):
            for size, (http, ids) in asked.items():
                times[size].append(_taken(http, ids[number % len(ids)]))
    return [_figure(times)]


def _responses(
    place: Place, size: int, stack: ExitStack, options: Options
) -> tuple[httpx.Client, Sequence[str]]:
    """A client, and the ids of the last answers of some long conversations."""
    name = f"proxy-{size}"
    (place.home(name) / "bridge").mkdir(mode=0o700)
    fill(place.home(name) / "bridge" / "session_map.db", size, options.say)
    port = free_port()
    mode = f"reverse:https://api.openai.com@{port}"
    proxy = place.proxy(name, "--mode", mode, unkeyed="stateless", upstream="false", spare="0")
    stack.enter_context(proxy)
    http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
    ids = []
    for number in range(_CONVERSATIONS):
        said = [
            (user, assistant)[place % 2](f"{number}.{place} {'lorem ipsum ' * 20}")
            for place in range(LENGTH - 1)
        ]
        answer = http.post("/v1/responses", json={"model": MODEL, "input": said})
        ids.append(str(answer.raise_for_status().json()["id"]))
    return http, ids


def _taken(http: httpx.Client, id_: str) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    answer = http.get(f"/v1/responses/{id_}")
    taken = (time.perf_counter() - begun) * 1000
    if answer.raise_for_status().json()["id"] != id_:
        raise RuntimeError("another response came")
    return taken


def _figure(times: Mapping[int, Sequence[float]]) -> Figure:
    p50 = {size: percentile(taken, 50) for size, taken in times.items()}
    ratio = p50[LARGE] / p50[SMALL]
    return Figure(
        f"a response of {LENGTH} messages by its id",
        {"p50_ms": round(p50[LARGE], 1), "ratio": round(ratio, 2)},
        f"p50 ≤ {LIMIT_MS:g} ms; {LARGE:,} turns against {SMALL:,} ≤ {FLAT:g}",
        p50[LARGE] <= LIMIT_MS and ratio <= FLAT,
        (f"with {SMALL:,} turns in the database p50 {p50[SMALL]:.1f} ms",),
    )


async def thread(place: Place, options: Options) -> list[Figure]:
    """Against the same conversation, of which all is sent each time."""
    with place.proxy("proxy") as proxy:
        http = proxy.http()

        async def begin() -> Talk:
            return ThreadTalk(http)

        ours, keyed = Renewed(begin), Renewed(begin_with(http))
        times = await by_turns(
            {"proxy": ours, "keyed": keyed}, options.rounds_or(WARM), options.say
        )
    return [quotient("warm turn in a thread, against the same sent whole", times, "keyed", 1.05)]


BENCHMARKS: dict[str, Benchmark] = {
    "by-id": benchmark_of(by_id),
    "thread": benchmark_of(thread),
}
