"""What traffic that is not ours pays for the addon in transparent mode, from another machine.

As in reverse mode (see `passthrough`), but in network namespaces: the client asks four addresses of
one server, and a rule leads each to another proxy. Needs root.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from scripts.benchmarks.figures import Figure, Options, median, percentile
from scripts.benchmarks.keep_alive import clients, upstream
from scripts.benchmarks.passthrough import (
    AT_ONCE,
    DOORS,
    ROUNDS,
    SECONDS,
    WITHOUT_SPARES,
    Pace,
    Side,
    request_to,
    rounds_of,
)
from scripts.benchmarks.proxies import Mitmdump, mitmdump
from tests.support.network import GATEWAY, Network, network

ADDRESSES = tuple(f"10.77.2.{number}" for number in range(1, 5))
_PATH = "/v1/messages/count_tokens"


def transparent(options: Options) -> Iterable[Figure]:
    with network() as net:
        for address in ADDRESSES:
            subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
        return [asyncio.run(_measure(net, options.rounds_or(ROUNDS), options))]


async def _measure(net: Network, rounds: int, options: Options) -> Figure:
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        for address in ADDRESSES:
            await stack.enter_async_context(upstream(address, 80))
        proxies = [
            stack.enter_context(
                mitmdump(
                    home / str(n),
                    f"transparent@{GATEWAY}:{8080 + n}",
                    door=d,
                    options=WITHOUT_SPARES,
                )
            )
            for n, d in enumerate(DOORS)
        ]
        _lead(net, proxies)
        with net.clients_sockets():
            sides = [
                Side(proxy, await stack.enter_async_context(clients(80, AT_ONCE, address)))
                for proxy, address in zip(proxies, ADDRESSES, strict=True)
            ]
        options.say(f"{rounds} rounds of {len(sides) * SECONDS:g} s")
        request = request_to("llm.example", _PATH)
        return _figure(await rounds_of(sides, request, rounds, SECONDS))


def _lead(net: Network, proxies: Sequence[Mitmdump]) -> None:
    rules = "\n".join(
        f"ip daddr {address} tcp dport 80 redirect to :{proxy.port}"
        for proxy, address in zip(proxies, ADDRESSES, strict=True)
    )
    chain = "type nat hook prerouting priority dstnat;\niifname to_client jump each\n"
    net.redirect(
        f"table ip sessionbridge {{\nchain each {{\n{rules}\n}}\nchain lead {{\n{chain}}}\n}}\n"
    )


def _figure(rounds: Sequence[Sequence[Pace]]) -> Figure:
    ratios = [(a.rate + b.rate) / (c.rate + d.rate) for a, c, b, d in rounds]
    controls = [c.rate / d.rate for _, c, _, d in rounds]
    low, high = percentile(controls, 5), percentile(controls, 95)
    ratio = median(ratios)
    return Figure(
        "pass-through in transparent mode",
        {
            "ratio": ratio,
            "control_low": low,
            "control_high": high,
            "with_per_s": median(pace.rate for a, _, b, _ in rounds for pace in (a, b)),
            "without_per_s": median(pace.rate for _, c, _, d in rounds for pace in (c, d)),
        },
        "ratio within the control's spread (5 to 95 %)",
        low <= ratio <= high,
        (f"median of {len(ratios)} rounds, {min(ratios):.3f} to {max(ratios):.3f}",),
    )
