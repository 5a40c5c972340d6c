"""Several processes that write the session map at once, as several proxies with one home do.

Run as a module it is one of them: `python -m scripts.benchmarks.writers FILE NUMBER TURNS`. It says
that it is ready, waits for a line, and prints what it met.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.benchmarks.figures import Figure, Options, percentile
from sessionbridge.errors import StoreUnavailable
from sessionbridge.sessions.store.store import SessionStore
from tests.support.proxy import ROOT, environment
from tests.support.turn_records import turn_named

PROCESSES = 8
TURNS = 1_000


@dataclass(slots=True)
class Met:
    """What one process met. `misses` are turns it had committed and did not find; `p99_ms` and
    `slowest_ms` are of a commit."""

    committed: int = 0
    locked: int = 0
    failed: int = 0
    misses: int = 0
    p99_ms: float = 0.0
    slowest_ms: float = 0.0


def writers(options: Options) -> Iterable[Figure]:
    yield measure(PROCESSES, TURNS, options)


def measure(processes: int, turns: int, options: Options) -> Figure:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "session_map.db"
        options.say(f"{processes} processes, {turns} turns each")
        met, seconds = _run(path, processes, turns)
        rows = _rows(path)
    committed = sum(one.committed for one in met)
    wrong = {
        "lost_rows": max(committed - rows["turns"], 0) + max(committed - rows["session_map"], 0),
        "lost_points": 2 * committed - rows["points"],
        "locked": sum(one.locked for one in met),
        "failed": sum(one.failed for one in met),
        "false_misses": sum(one.misses for one in met),
    }
    return Figure(
        f"{processes} processes writing one session map",
        {"turns": committed, **wrong, "turns_per_s": committed / seconds},
        "all turns, nothing lost, locked or missed",
        committed == processes * turns and not any(wrong.values()),
        (
            "each turn commits under a key of its own and is looked up at once",
            f"{seconds:.1f} s; p99 of a commit up to {max(one.p99_ms for one in met):.0f} ms, "
            f"the slowest {max(one.slowest_ms for one in met):.0f} ms",
        ),
    )


def _run(path: Path, processes: int, turns: int) -> tuple[list[Met], float]:
    """All begin at the same moment; the seconds until the last has ended."""
    with ExitStack() as stack:
        running = [stack.enter_context(_writer(path, number, turns)) for number in range(processes)]
        for process in running:
            _line(process)
        begun = time.perf_counter()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        met = [Met(**json.loads(_line(process))) for process in running]
        return met, time.perf_counter() - begun


@contextmanager
def _writer(path: Path, number: int, turns: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", __name__, str(path), str(number), str(turns)]
    variables = environment(path.parent) | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'addon'}"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a writer ended with {process.wait()}")
    return line


def _rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        return {
            table: int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in ("turns", "session_map", "points")
        }


def work(path: Path, number: int, turns: int) -> Met:
    met = Met()
    times = []
    with closing(SessionStore.open(path)) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for index in range(turns):
            record = turn_named(f"{number}-{index}")
            begun = time.perf_counter()
            try:
                store.commit(record)
                times.append((time.perf_counter() - begun) * 1000)
                met.committed += 1
                lineage = store.lineage(record.key, [record.ask_hash, record.history_hash])
            except StoreUnavailable as error:
                met.locked += "locked" in error.message
                met.failed += "locked" not in error.message
                continue
            met.misses += lineage.row is None or lineage.tip is None or len(lineage.points) != 2
    met.p99_ms, met.slowest_ms = percentile(times, 99), max(times)
    return met


def main(arguments: Sequence[str]) -> None:
    path, number, turns = arguments
    print(json.dumps(asdict(work(Path(path), int(number), int(turns)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
