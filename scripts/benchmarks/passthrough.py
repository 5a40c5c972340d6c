"""What traffic that is not ours pays for the addon: requests per second with and without it.

One client asks four proxies in turn, two with and two without, in short rounds and each round in
another order: what else the machine does meets all of them alike, and no process is compared that
merely happened to be laid out well in memory. A round's ratio is its own; the median of all of them
is the figure. The two without are compared as well: what they differ by, the addon did not do.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.figures import Figure, Options, median
from scripts.benchmarks.keep_alive import Client, clients, rate, upstream
from scripts.benchmarks.proxies import Mitmdump, mitmdump
from tests.support.proxy import DOOR

ROUNDS = 40
SECONDS = 0.3
AT_ONCE = 8
DOORS = (DOOR, None, DOOR, None)
LIMIT = 0.97
WITHOUT_SPARES = {"spare": "0"}
"""Their start would take a processor from all four for some seconds."""
PATHS = {
    "another path": "/v1/messages/count_tokens",
    "POST /v1/messages without an origin": "/v1/messages",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """Answers per second, and the milliseconds of processor time that the proxy took for each."""

    rate: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Side:
    """One of the proxies, and the connections to it."""

    proxy: Mitmdump
    asking: Sequence[Client]

    async def pace(self, request: bytes, seconds: float) -> Pace:
        before = self.proxy.cpu_seconds()
        found = await rate(self.asking, request, seconds)
        used = self.proxy.cpu_seconds() - before
        return Pace(found, used * 1000 / sum(client.answers for client in self.asking))


def passthrough(options: Options) -> Iterable[Figure]:
    return asyncio.run(measure(options.rounds_or(ROUNDS), SECONDS, options))


async def measure(rounds: int, seconds: float, options: Options) -> list[Figure]:
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        target = await stack.enter_async_context(upstream())
        direct = await stack.enter_async_context(clients(target, AT_ONCE))
        sides = []
        for number, door in enumerate(DOORS):
            # Nothing else happens on this loop while they start.
            proxy = stack.enter_context(
                mitmdump(
                    home / str(number),
                    f"reverse:http://127.0.0.1:{target}@0",
                    door=door,
                    options=WITHOUT_SPARES,
                )
            )
            sides.append(Side(proxy, await stack.enter_async_context(clients(proxy.port, AT_ONCE))))
        figures = []
        for name, path in PATHS.items():
            request = request_to(f"127.0.0.1:{target}", path)
            unhindered = await rate(direct, request, seconds)
            options.say(f"{name}, {rounds} rounds of {len(sides) * seconds:g} s")
            found = await rounds_of(sides, request, rounds, seconds)
            figures.append(_figure(name, found, unhindered))
        return figures


async def rounds_of(
    sides: Sequence[Side], request: bytes, rounds: int, seconds: float
) -> list[list[Pace]]:
    """In the order of `sides`. A round before them, of first requests, does not count."""
    for side in sides:
        await side.pace(request, seconds)
    found = []
    for _ in range(rounds):
        paces = {}
        for number in random.sample(range(len(sides)), len(sides)):
            paces[number] = await sides[number].pace(request, seconds)
        found.append([paces[number] for number in range(len(sides))])
    return found


def _figure(name: str, rounds: Sequence[Sequence[Pace]], unhindered: float) -> Figure:
    """The rounds' paces are in the order of `DOORS`."""
    ratios = [(a.rate + b.rate) / (c.rate + d.rate) for a, c, b, d in rounds]
    control = median(c.rate / d.rate for _, c, _, d in rounds)
    with_addon = [pace for a, _, b, _ in rounds for pace in (a, b)]
    without = [pace for _, c, _, d in rounds for pace in (c, d)]
    cpu = [median(pace.cpu_ms for pace in paces) for paces in (with_addon, without)]
    return Figure(
        f"pass-through, {name}",
        {
            "ratio": median(ratios),
            "with_per_s": median(pace.rate for pace in with_addon),
            "without_per_s": median(pace.rate for pace in without),
            "control": control,
        },
        f"ratio ≥ {LIMIT}",
        median(ratios) >= LIMIT,
        (
            f"median of {len(ratios)} rounds, {min(ratios):.3f} to {max(ratios):.3f}; "
            f"{AT_ONCE} keep-alive connections, reverse mode",
            f"the two proxies without it, one against the other: {control:.3f}",
            f"the proxy's processor time for a request: {cpu[0]:.2f} ms with, {cpu[1]:.2f} without",
            f"client and upstream without a proxy: {unhindered:,.0f}/s",
        ),
    )


def request_to(host: str, path: str) -> bytes:
    """A conversation of nine messages, because the addon has to read it to know whose it is."""
    said = "What somebody says in a message of ordinary length. " * 8
    messages = [{"role": ("user", "assistant")[n % 2], "content": f"{n}: {said}"} for n in range(9)]
    body = json.dumps({"model": "claude-sonnet-5", "max_tokens": 900, "messages": messages})
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "X-Api-Key: sk-ant-nobody",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", body)).encode()
