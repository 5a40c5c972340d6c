"""What it costs a turn that its client is known and has a budget."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import httpx

from scripts.benchmarks.figures import Benchmark, Figure, Options, median
from scripts.benchmarks.latency import WARM, Renewed, benchmark_of, by_turns, summary
from scripts.benchmarks.place import Place
from scripts.benchmarks.talks import ProxyTalk, Talk
from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.client_tokens import made
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore

_RULES = ClientRules(
    budgets=(Budget(per="day", usd=1e6), Budget(per="month", tokens=10**12)),
    turns_a_minute=10**6,
    turns_at_once=100,
)
_MOST_MS = 1.0


class _Talk(ProxyTalk):
    """Whose turns count to their end, where a budget is settled."""

    def __init__(self, http: httpx.Client, token: str = "") -> None:
        super().__init__(http)
        if token:
            self._headers["x-sessionbridge-token"] = token

    async def ask(self, **changes: Any) -> float:
        clock = asyncio.get_running_loop().time
        begun = clock()
        await super().ask(**changes)
        return clock() - begun


async def warm_turn(place: Place, options: Options) -> list[Figure]:
    text, token = made()
    with place.proxy("proxy") as proxy:
        with closing(SessionStore.open(proxy.database.parent / DATABASE_NAME)) as store:
            store.add_client("bench", token, _RULES)
        http = proxy.http()

        async def known() -> Talk:
            return _Talk(http, text)

        async def nobody() -> Talk:
            return _Talk(http)

        contestants = {"client": Renewed(known), "nobody": Renewed(nobody)}
        try:
            times = await by_turns(contestants, options.rounds_or(WARM), options.say)
        finally:
            for each in contestants.values():
                await each.close()
    added = (median(times["client"]) - median(times["nobody"])) * 1000
    measured = {"added_p50_ms": round(added, 2), **summary(times)}
    name, limit = "warm turn of a client with budgets", f"≤ {_MOST_MS:g} ms more (p50)"
    return [Figure(name, measured, limit, added <= _MOST_MS)]


BENCHMARKS: dict[str, Benchmark] = {"clients": benchmark_of(warm_turn)}
