"""A mitmdump to be measured, and nothing in it but what is named.

Not the tests' one, which has a recorder for every flow. Its clients need no TLS, whose cost is
mitmproxy's alone. No line is printed for each flow: that work, the same with
and without the addon, would only make a ratio look better.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.proxy import ROOT, TOOLS, environment, stop, wait_for

INSIDE = ROOT / "scripts" / "benchmarks" / "inside" / "door.py"
_LISTENING = re.compile(r"listening at (?:\S+ )?[\d.]+:(\d+)")


@dataclass(frozen=True, slots=True)
class Mitmdump:
    """A running one."""

    pid: int
    port: int
    home: Path
    log_file: Path

    @property
    def database(self) -> Path:
        return self.home / "bridge" / "session_map.db"

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found, "no VmRSS in /proc"
        return int(found[1]) / 1024

    def cpu_seconds(self) -> float:
        """Of the threads it has now; `stat` would tell it of all, but in steps of 10 ms."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text("utf-8").split()[0]) for thread in threads) / 1e9


@contextmanager
def mitmdump(
    home: Path,
    mode: str,
    *,
    door: Path | None,
    options: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Mitmdump]:
    """Starts it, waits until it listens, and ends it. `options` are `sessionbridge_…` ones."""
    home.mkdir(parents=True)
    command = [str(TOOLS / "mitmdump"), *(["-s", str(door)] if door else [])]
    command += ["--listen-host", "127.0.0.1", "--mode", mode]
    command += ["--set", f"confdir={home / 'mitm'}", "--set", "flow_detail=0"]
    if door:
        for name, value in ({"home": str(home / "bridge")} | dict(options or {})).items():
            command += ["--set", f"sessionbridge_{name}={value}"]
    log_file = home / "mitmdump.log"
    variables = environment(home) | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'addon'}"}
    variables |= dict(env or {})
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home, env=variables, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        port = wait_for(lambda: _port(process, log_file), "mitmdump to listen", 60)
        yield Mitmdump(process.pid, port, home, log_file)
    finally:
        stop(process)


def _port(process: subprocess.Popen[bytes], log_file: Path) -> int | None:
    log = log_file.read_text("utf-8")
    assert process.poll() is None, f"mitmdump ended:\n{log}"
    found = _LISTENING.search(log)
    return int(found[1]) if found else None
