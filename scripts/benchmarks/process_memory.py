"""What the memory of processes comes to: each page counted in parts, among all who have it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.benchmarks.figures import Benchmark, Figure, Options
from scripts.benchmarks.latency import benchmark_of
from scripts.benchmarks.place import Place
from scripts.benchmarks.processes import children, descendants, still
from scripts.benchmarks.talks import BareTalk, ProxyTalk
from sessionbridge.claude.pool.machine import PROCESS
from tests.support.proxy import ROOT, environment

OPEN = 5
_MB = 1024 * 1024


async def five_open(place: Place, options: Options) -> list[Figure]:
    """Conversations with one turn each, first through the proxy and then with bare clients, because
    what they share with each other counts less for each."""
    with place.proxy("proxy", live="10", spare="0") as proxy:
        for _ in range(OPEN):
            await ProxyTalk(proxy.http()).ask()
        await still()
        ours = _proportional([proxy.process.pid, *descendants(proxy.process.pid)])
        each = [_own(pid) for pid in children(proxy.process.pid) if _is_cli(pid)]
    bare = await _of_bare_clients(place)
    one_more = sum(each) / len(each)
    open_ratio = round(ours / bare, 3)
    assumed = round(PROCESS / _MB)
    return [
        Figure(
            "memory of proxy and processes with five conversations open, against five bare clients",
            {"ratio": open_ratio, "proxy_mb": round(ours / _MB), "bare_mb": round(bare / _MB)},
            "ratio ≤ 1.15",
            open_ratio <= 1.15,
        ),
        Figure(
            "memory of one more live process, against what the default takes it for",
            {"mb": round(one_more / _MB), "assumed_mb": assumed},
            "within 15 %",
            abs(one_more / PROCESS - 1) <= 0.15,
        ),
    ]


async def _of_bare_clients(place: Place) -> int:
    """In a program of its own, which has nothing else to do."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.benchmarks.process_memory", place.api, place.folder),
        cwd=ROOT,
        env=environment(place.folder) | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'addon'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert program.stdin is not None and program.stdout is not None
    try:
        await program.stdout.readline()
        await still()
        return _proportional([program.pid, *descendants(program.pid)])
    finally:
        program.stdin.close()
        await program.wait()


async def _hold(place: Place) -> None:
    """Until standard input is closed."""
    talks = [BareTalk(place) for _ in range(OPEN)]
    for talk in talks:
        await talk.connect()
        await talk.ask()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for talk in talks:
        await talk.close()


def _proportional(pids: Iterable[int]) -> int:
    """Bytes."""
    return sum(_told(pid, "Pss") for pid in pids)


def _own(pid: int) -> int:
    """Bytes that nobody else has."""
    return _told(pid, "Private_Dirty") + _told(pid, "Private_Clean")


def _told(pid: int, name: str) -> int:
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", told, re.M)
    assert found, f"no {name} in smaps_rollup"
    return int(found[1]) * 1024


def _is_cli(pid: int) -> bool:
    return b"stream-json" in Path(f"/proc/{pid}/cmdline").read_bytes()


BENCHMARKS: dict[str, Benchmark] = {"process-memory": benchmark_of(five_open)}


if __name__ == "__main__":
    asyncio.run(_hold(Place(Path(sys.argv[2]), sys.argv[1])))
