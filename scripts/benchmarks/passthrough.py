"""What traffic that is not ours pays for the addon: requests per second with and without it.

One client asks the two proxies in turn, in short rounds, each round in the other order than the one
before: what else the machine does meets both of them alike. A round's ratio is its own; the median
of all of them is the figure.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.figures import Figure, Options, median
from scripts.benchmarks.keep_alive import Client, clients, rate, upstream
from scripts.benchmarks.proxies import Mitmdump, mitmdump
from tests.proxy import DOOR

ROUNDS = 24
SECONDS = 0.6
AT_ONCE = 8
LIMIT = 0.97
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
    """One of the two proxies, and the connections to it."""

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
        for name, door in (("with", DOOR), ("without", None)):
            # Nothing else happens on this loop while they start.
            proxy = stack.enter_context(
                mitmdump(home / name, f"http://127.0.0.1:{target}", door=door)
            )
            sides.append(Side(proxy, await stack.enter_async_context(clients(proxy.port, AT_ONCE))))
        figures = []
        for name, path in PATHS.items():
            request = _request(target, path)
            unhindered = await rate(direct, request, seconds)
            options.say(f"{name}, {rounds} rounds of {2 * seconds:g} s")
            pairs = await _rounds(sides, request, rounds, seconds)
            figures.append(_figure(name, pairs, unhindered))
        return figures


async def _rounds(
    sides: Sequence[Side], request: bytes, rounds: int, seconds: float
) -> list[tuple[Pace, Pace]]:
    """Each with and without the addon. A round before them, of first requests, does not count."""
    for side in sides:
        await side.pace(request, seconds)
    pairs = []
    for number in range(rounds):
        found = {}
        for index in (0, 1) if number % 2 else (1, 0):
            found[index] = await sides[index].pace(request, seconds)
        pairs.append((found[0], found[1]))
    return pairs


def _figure(name: str, pairs: Sequence[tuple[Pace, Pace]], unhindered: float) -> Figure:
    ratios = [with_addon.rate / without.rate for with_addon, without in pairs]
    cpu_ratio = median(without.cpu_ms / with_addon.cpu_ms for with_addon, without in pairs)
    cpu = [median(pair[side].cpu_ms for pair in pairs) for side in (0, 1)]
    return Figure(
        f"pass-through, {name}",
        {
            "ratio": median(ratios),
            "with_per_s": median(pair[0].rate for pair in pairs),
            "without_per_s": median(pair[1].rate for pair in pairs),
            "cpu_ratio": cpu_ratio,
        },
        f"ratio ≥ {LIMIT}",
        median(ratios) >= LIMIT,
        (
            f"median of {len(ratios)} rounds, {min(ratios):.3f} to {max(ratios):.3f}; "
            f"{AT_ONCE} keep-alive connections, reverse mode",
            f"the proxy's processor time for a request: {cpu[0]:.2f} ms with, {cpu[1]:.2f} without",
            f"client and upstream without a proxy: {unhindered:,.0f}/s",
        ),
    )


def _request(port: int, path: str) -> bytes:
    """A conversation of nine messages, because the addon has to read it to know whose it is."""
    said = "What somebody says in a message of ordinary length. " * 8
    messages = [{"role": ("user", "assistant")[n % 2], "content": f"{n}: {said}"} for n in range(9)]
    body = json.dumps({"model": "claude-sonnet-5", "max_tokens": 900, "messages": messages})
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        "X-Api-Key: sk-ant-nobody",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", body)).encode()
