"""The CLI's transcript files: where one is, and what its session had cost when it was last left.

A transcript is `<config dir>/projects/<slug of the working directory>/<session id>.jsonl`, one JSON
entry a line. The CLI restores its running cost from the last `cost-state` entry (measured).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from claude_agent_sdk import project_key_for_directory

from sessionbridge.errors import SessionLost

_ROOT = re.compile(rb'"parentUuid":\s*null')


def config_dir(environment: Mapping[str, str]) -> Path:
    """Where a CLI with this environment keeps its files."""
    named = environment.get("CLAUDE_CONFIG_DIR")
    return Path(named) if named else Path(environment.get("HOME") or Path.home()) / ".claude"


def transcript_path(config: Path, cwd: Path, internal_id: str) -> Path:
    return config / "projects" / project_key_for_directory(cwd) / f"{internal_id}.jsonl"


def newest_transcript(config: Path, cwd: Path) -> Path | None:
    """The session `--continue` would go on with."""
    found = (config / "projects" / project_key_for_directory(cwd)).glob("*.jsonl")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def file_id(transcript: Path) -> tuple[int, ...] | None:
    """Tells whether a file is the same and as long as before; None where there is none."""
    try:
        status = transcript.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size


def cost_at(transcript: Path, entry: str) -> float:
    """`cost_so_far` of a session that is to go on from an entry. Raises `SessionLost` where the
    transcript, its beginning or the entry is gone: cheaper to find out than by a CLI that fails to
    start, or one that goes on with what is left (a process that outlives its transcript writes a
    new one, of what it hears from then on)."""
    try:
        content = transcript.read_bytes()
    except FileNotFoundError as error:
        raise SessionLost("The transcript of this Claude session is gone.") from error
    if content.rfind(entry.encode()) < 0 or not _ROOT.search(content):
        raise SessionLost("The transcript of this Claude session no longer has this entry.")
    return _last_cost(content)


def cost_so_far(transcript: Path | None) -> float:
    """US dollars a session had cost when its process last ended; 0.0 where nothing says so.

    `total_cost_usd` runs over a whole session and a fork starts from its parent's, so a turn's own
    cost is the difference to this.
    """
    if transcript is None or not transcript.exists():
        return 0.0
    return _last_cost(transcript.read_bytes())


def _last_cost(content: bytes) -> float:
    end = len(content)
    while (found := content.rfind(b'"cost-state"', 0, end)) >= 0:
        end = content.rfind(b"\n", 0, found) + 1
        with suppress(ValueError):  # a line that a killed CLI did not finish
            entry = json.loads(content[end:].partition(b"\n")[0])
            if isinstance(entry, dict) and entry.get("type") == "cost-state":
                return float(entry.get("totalCostUSD") or 0.0)
    return 0.0
