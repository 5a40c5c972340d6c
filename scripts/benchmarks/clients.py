"""What it costs a turn that its client is known and has a budget, and what it costs where nobody is
known: against a checkout of an earlier version, which had no clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from scripts.benchmarks.figures import Benchmark, Figure, Options, median
from scripts.benchmarks.inside.ticking import Score
from scripts.benchmarks.latency import Renewed, Times, benchmark_of, by_turns, summary
from scripts.benchmarks.place import Place
from scripts.benchmarks.proxies import INSIDE, mitmdump
from scripts.benchmarks.settings import versions
from scripts.benchmarks.talks import MODEL, ProxyTalk, Talk
from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.client_tokens import made
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from tests.support.proxy import Proxy
from tests.support.scripted_api import assistant, user

_RULES = ClientRules(
    budgets=(Budget(per="day", usd=1e6), Budget(per="month", tokens=10**12)),
    turns_a_minute=10**6,
    turns_at_once=100,
)
_ROUNDS = 300
_NOWHERE = "http://127.0.0.1:9"
_MOST_MS = 1.0
_KNOWN_TO_MS = 1.0
"""A turn varies by ten times as much; the usual rounds tell no less of a difference."""


class _Scripted:
    """A conversation that no model is asked for: what is left is the bridge's own."""

    def __init__(self, http: httpx.Client, token: str = "") -> None:
        self._http = http
        self._headers = {"x-sessionbridge-session": uuid4().hex}
        if token:
            self._headers["x-sessionbridge-token"] = token
        self._messages: list[dict[str, Any]] = []

    async def ask(self) -> float:
        self._messages.append(user(Score(1, 0.0).written()))
        body = {"model": MODEL, "max_tokens": 900, "messages": self._messages}
        begun = time.perf_counter()
        answer = self._http.post("/v1/messages", json=body, headers=self._headers)
        taken = time.perf_counter() - begun
        self._messages.append(assistant(answer.raise_for_status().json()["content"][0]["text"]))
        return taken

    async def close(self) -> None:
        """The connection is not only this conversation's."""


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
    figures = [await with_budgets(place, options), await without_model(place, options)]
    if options.before is not None:
        figures.append(await without_clients(place, options))
    return figures


async def with_budgets(place: Place, options: Options) -> Figure:
    with place.proxy("clients") as proxy:
        text = _add_client(proxy.database.parent)
        begins = {"client": _begin(proxy, text), "nobody": _begin(proxy)}
        times = await _times(begins, options)
    added = _added(times, "client", "nobody")
    measured = {"added_p50_ms": added, **summary(times)}
    name, limit = "warm turn of a client with budgets", f"≤ {_MOST_MS:g} ms more (p50)"
    return Figure(name, measured, limit, added <= _MOST_MS)


async def without_model(place: Place, options: Options) -> Figure:
    with mitmdump(place.folder / "ticking", f"reverse:{_NOWHERE}@0", door=INSIDE) as proxy:
        text = _add_client(proxy.home / "bridge")
        url = f"http://127.0.0.1:{proxy.port}"
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:

            async def known() -> Talk:
                return _Scripted(http, text)

            async def nobody() -> Talk:
                return _Scripted(http)

            times = await _times({"client": known, "nobody": nobody}, options)
    added = _added(times, "client", "nobody")
    measured = {"added_p50_ms": added, **summary(times)}
    name, limit = (
        "the same without a model, whose time varies most",
        f"≤ {_MOST_MS:g} ms more (p50)",
    )
    return Figure(name, measured, limit, added <= _MOST_MS)


def _add_client(home: Path) -> str:
    """Returns its token."""
    text, token = made()
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.add_client("bench", token, _RULES)
    return text


async def without_clients(place: Place, options: Options) -> Figure:
    with versions(place, options) as proxies:
        begins = {version: _begin(proxy) for version, proxy in proxies.items()}
        times = await _times(begins, options)
    added = _added(times, "now", "before")
    measured = {"added_p50_ms": added, **summary(times)}
    name, limit = "warm turn where there are no clients", f"nothing, to {_KNOWN_TO_MS:g} ms (p50)"
    return Figure(name, measured, limit, added <= _KNOWN_TO_MS)


def _begin(proxy: Proxy, token: str = "") -> Callable[[], Coroutine[None, None, Talk]]:
    http = proxy.http()

    async def begin() -> Talk:
        return _Talk(http, token)

    return begin


async def _times(begins: Mapping[str, Callable[[], Awaitable[Talk]]], options: Options) -> Times:
    contestants = {name: Renewed(begin) for name, begin in begins.items()}
    try:
        return await by_turns(contestants, options.rounds_or(_ROUNDS), options.say)
    finally:
        for each in contestants.values():
            await each.close()


def _added(times: Times, one: str, other: str) -> float:
    return round((median(times[one]) - median(times[other])) * 1000, 2)


BENCHMARKS: dict[str, Benchmark] = {"clients": benchmark_of(warm_turn)}
