"""What `sessionbridge exec` adds to the start of a program: with a proxy of its own, and with one
that runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.benchmarks.figures import Benchmark, Figure, Options, median
from scripts.benchmarks.place import a_place
from tests.support.proxy import TOOLS, environment

_PROGRAM = ("date", "+%s.%N")
_OWN, _RUNNING = 1.5, 0.3
"""Seconds."""


def added(options: Options) -> Iterator[Figure]:
    with a_place() as place, place.proxy("shared") as proxy:
        confdir = ("--confdir", str(proxy.home / "mitm"))
        command = (str(TOOLS / "sessionbridge"), "--home", str(proxy.home / "bridge"), "exec")
        port = str(proxy.ports[0])
        ways: dict[str, tuple[Sequence[str], float]] = {
            "a proxy of its own": ((*command, *confdir, "--"), _OWN),
            "a proxy that runs": ((*command, *confdir, "--port", port, "--"), _RUNNING),
        }
        started: dict[str, list[float]] = {name: [] for name in ("alone", *ways)}
        for turn in range(options.rounds_or(7)):
            options.say(f"round {turn + 1}")
            started["alone"].append(_start(_PROGRAM, proxy.home))
            for name, (before, _) in ways.items():
                started[name].append(_start((*before, *_PROGRAM), proxy.home))
        alone = median(started["alone"])
        for name, (_, limit) in ways.items():
            seconds = median(started[name]) - alone
            measured = {"added_s": round(seconds, 3), "worst_s": round(max(started[name]), 3)}
            yield Figure(f"exec, {name}", measured, f"≤ {limit} s added", seconds <= limit)


def _start(command: Sequence[str], home: Path) -> float:
    """Seconds from asking for a program to its first act, which is to tell the time."""
    before = time.time()
    told = subprocess.check_output(command, env=environment(home), stderr=subprocess.DEVNULL)
    return float(told) - before


BENCHMARKS: dict[str, Benchmark] = {"program-starts": added}
