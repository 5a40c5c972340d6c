"""Python scripts as real processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys


def run_script(script: str, *arguments: object) -> str:
    """What it printed; fails with its error output unless it exits with 0."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
