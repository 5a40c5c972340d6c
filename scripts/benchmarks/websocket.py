"""What a WebSocket of the Responses API saves, and what one costs that only waits."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from websockets.asyncio.client import ClientConnection, connect

from scripts.benchmarks.figures import Benchmark, Figure, Options
from scripts.benchmarks.latency import WARM, Renewed, benchmark_of, by_turns, quotient
from scripts.benchmarks.place import Place, answer_to
from scripts.benchmarks.processes import still
from scripts.benchmarks.talks import MODEL, QUESTION, SYSTEM, Talk
from tests.support.proxy import Proxy, free_port
from tests.support.scripted_api import assistant, user

IDLE = 200
_SETTLED = 20
"""WebSockets that were opened before."""

_URL = "api.openai.com/v1/responses"


class _Talk:
    """A conversation of which all is sent each time, named in a header."""

    def __init__(self) -> None:
        self.headers = {
            "user-agent": "opencode/1.0.0",
            "x-session-affinity": f"ses_{uuid4().hex}",
            "authorization": "Bearer sk-client-key",
        }
        self._items: list[Any] = []

    async def ask(self) -> float:
        """Seconds until the first event of the answer, all of which is read."""
        self._items.append(user(QUESTION))
        fields = {"model": MODEL, "instructions": SYSTEM, "input": self._items}
        first, response = await self._asked(fields)
        said = response["output"][0]["content"][0]["text"]
        if said != answer_to(len(self._items)):
            raise RuntimeError(f"{response}"[:500])
        self._items.append(assistant(said))
        return first

    async def _asked(self, fields: dict[str, Any]) -> tuple[float, Any]:
        raise NotImplementedError


class PostTalk(_Talk):
    def __init__(self, http: httpx.Client) -> None:
        super().__init__()
        self._http = http

    async def _asked(self, fields: dict[str, Any]) -> tuple[float, Any]:
        return await asyncio.to_thread(self._posted, {**fields, "stream": True})

    def _posted(self, body: dict[str, Any]) -> tuple[float, Any]:
        begun, first, events = time.perf_counter(), 0.0, b""
        with self._http.stream(
            "POST", f"https://{_URL}", json=body, headers=self.headers
        ) as response:
            for piece in response.iter_raw():
                events += piece
                if not first and b"\n\n" in events:
                    first = time.perf_counter()
        last = events.rsplit(b"data: ", 1)[1]
        return first - begun, json.loads(last)["response"]

    async def close(self) -> None:
        """The connection is not only this conversation's."""


class SocketTalk(_Talk):
    _socket: ClientConnection

    async def begin(self, proxy: Proxy) -> SocketTalk:
        self._socket = await connect(
            f"wss://{_URL}", proxy=proxy.url, ssl=proxy.tls(), additional_headers=self.headers
        )
        return self

    async def _asked(self, fields: dict[str, Any]) -> tuple[float, Any]:
        begun = time.perf_counter()
        await self._socket.send(json.dumps({"type": "response.create", **fields}))
        event = json.loads(await self._socket.recv())
        first = time.perf_counter()
        while event["type"] != "response.completed":
            event = json.loads(await self._socket.recv())
        return first - begun, event["response"]

    async def close(self) -> None:
        await self._socket.close()


async def warm_turn(place: Place, options: Options) -> list[Figure]:
    with place.proxy("proxy") as proxy:
        http = proxy.http()
        contestants: dict[str, Callable[[], Awaitable[Talk]]] = {
            "proxy": lambda: SocketTalk().begin(proxy),
            "post": lambda: asyncio.to_thread(PostTalk, http),
        }
        renewed = {name: Renewed(begin) for name, begin in contestants.items()}
        try:
            times = await by_turns(renewed, options.rounds_or(WARM), options.say)
        finally:
            for each in renewed.values():
                await each.close()
    return [quotient("warm turn on a WebSocket, against the same by POST", times, "post", 1.0)]


async def idle(place: Place, options: Options) -> list[Figure]:
    """Through TLS, too; what that takes is mitmproxy's, and no part of the figure."""
    with place.proxy("plain", "--mode", f"reverse:https://api.openai.com@{free_port()}") as proxy:
        cost = await _cost(proxy, f"ws://127.0.0.1:{proxy.ports[0]}/v1/responses")
    with place.proxy("tls") as proxy:
        through_tls = await _cost(proxy, f"wss://{_URL}", proxy=proxy.url, ssl=proxy.tls())
    measured = {"mb": round(cost, 1), "through_tls_mb": round(through_tls, 1)}
    return [Figure(f"memory of {IDLE} idle WebSockets", measured, "≤ 20 MB", cost <= 20)]


async def _cost(measured: Proxy, url: str, **options: Any) -> float:
    """Megabytes. The first ones, after which nothing is new, do not count."""
    headers = {"x-sessionbridge-session": "idle"}
    options = {"proxy": None, "additional_headers": headers, **options}
    async with AsyncExitStack() as sockets:
        for _ in range(_SETTLED):
            await sockets.enter_async_context(connect(url, **options))
        await still()
        before = _resident(measured.process.pid)
        for _ in range(IDLE):
            await sockets.enter_async_context(connect(url, **options))
        await still()
        return (_resident(measured.process.pid) - before) / 1024


def _resident(pid: int) -> int:
    """Kilobytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, "no VmRSS in /proc"
    return int(found[1])


BENCHMARKS: dict[str, Benchmark] = {
    "websocket": benchmark_of(warm_turn),
    "websocket-idle": benchmark_of(idle),
}
