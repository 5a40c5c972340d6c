"""Times every callback of the event loop, because one that does not return holds all streams up.

The wall clock says how long the others waited; the thread's own clock says how much of that it was
really computing. Where the second is small, the callback was not to blame: the thread was preempted
(the client runs on the same cores), or another thread of ours had the interpreter.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import json
import time
from asyncio.events import Handle
from dataclasses import asdict, dataclass, field

from mitmproxy import http

PATH = "/bench/phase/"
"""Asking for it begins the phase of that name and answers with what the one before it was like."""

_KEPT = 5


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """One callback, as long as it held the loop."""

    wall_ms: float
    cpu_ms: float
    who: str


@dataclass(slots=True)
class Phase:
    """`longest` are the longest holds by the wall clock, `busiest` by the thread's own."""

    name: str
    begun: float = field(default_factory=time.perf_counter)
    callbacks: int = 0
    busy_ms: float = 0.0
    longest: list[tuple[float, Hold]] = field(default_factory=list)
    busiest: list[tuple[float, Hold]] = field(default_factory=list)
    gc_ms: float = 0.0

    def add(self, handle: Handle, wall_ms: float, cpu_ms: float) -> None:
        self.callbacks += 1
        self.busy_ms += wall_ms
        if len(self.longest) < _KEPT or wall_ms > self.longest[0][0]:
            _keep(self.longest, (wall_ms, Hold(wall_ms, cpu_ms, _who(handle))))
        if len(self.busiest) < _KEPT or cpu_ms > self.busiest[0][0]:
            _keep(self.busiest, (cpu_ms, Hold(wall_ms, cpu_ms, _who(handle))))

    def report(self) -> dict[str, object]:
        return {
            "name": self.name,
            "seconds": time.perf_counter() - self.begun,
            "callbacks": self.callbacks,
            "busy_ms": self.busy_ms,
            "gc_ms": self.gc_ms,
            "longest": _shown(self.longest),
            "busiest": _shown(self.busiest),
        }


class Watch:
    """The addon. `Handle._run` is the one place all callbacks of asyncio's loops go through; its
    debug mode times them too, but slows everything down."""

    def __init__(self) -> None:
        self._phase = Phase("start")
        self._gc_begun = 0.0
        self._time_handles()
        gc.callbacks.append(self._collect)

    def request(self, flow: http.HTTPFlow) -> None:
        if flow.request.path.startswith(PATH):
            told = json.dumps(self._phase.report()).encode()
            flow.response = http.Response.make(200, told, {"content-type": "application/json"})
            self._phase = Phase(flow.request.path.removeprefix(PATH))

    def _time_handles(self) -> None:
        run, wall, cpu = Handle._run, time.perf_counter, time.thread_time

        def timed(handle: Handle) -> None:
            began, worked = wall(), cpu()
            run(handle)
            self._phase.add(handle, (wall() - began) * 1000, (cpu() - worked) * 1000)

        # asyncio has no hook for this: its own class is changed, in Python's version of the loop.
        Handle._run = timed  # type: ignore[method-assign, assignment]

    def _collect(self, moment: str, info: dict[str, int]) -> None:
        if moment == "start":
            self._gc_begun = time.perf_counter()
        else:
            took = (time.perf_counter() - self._gc_begun) * 1000
            self._phase.gc_ms = max(self._phase.gc_ms, took)


def _keep(heap: list[tuple[float, Hold]], item: tuple[float, Hold]) -> None:
    heapq.heappush(heap, item)
    if len(heap) > _KEPT:
        heapq.heappop(heap)


def _shown(heap: list[tuple[float, Hold]]) -> list[dict[str, object]]:
    return [asdict(hold) for _, hold in sorted(heap, reverse=True)]


def _who(handle: Handle) -> str:
    """The coroutine whose step it was, or the function that was called."""
    # Of asyncio's own, so not in its types.
    callback = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return str(getattr(owner.get_coro(), "__qualname__", owner.get_name()))
    return str(getattr(callback, "__qualname__", repr(callback)))
