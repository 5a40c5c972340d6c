"""The machine a benchmark ran on: figures mean little without it."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from claude_agent_sdk._cli_version import __cli_version__


def machine() -> dict[str, str | int | float]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _found(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine(),
        "memory_gb": round(int(_found(r"MemTotal:\s*(\d+)", "/proc/meminfo")) / 1024**2, 1),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "mitmproxy": version("mitmproxy"),
        "claude_agent_sdk": version("claude-agent-sdk"),
        "claude_cli": __cli_version__,
    }


def _found(pattern: str, path: str) -> str:
    match = re.search(pattern, Path(path).read_text("utf-8"))
    return match[1].strip() if match else ""
