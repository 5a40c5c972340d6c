"""How a CLI that runs is told other settings: by requests that it does not document, each of which
leaves no trace in the conversation (measured with 2.1.332; `tests/claude/test_settings_live.py`
tells of a CLI that no longer takes them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sessionbridge.claude.job import Settings

Request = Mapping[str, Any]

MAX_TOKENS = "CLAUDE_CODE_MAX_OUTPUT_TOKENS"


def can_change(before: Settings, after: Settings) -> bool:
    """A system prompt is not taken away again."""
    return bool(after.system) or not before.system


def requests(before: Settings, after: Settings, model: str, server: str) -> Iterator[Request]:
    """`model` is the one that runs, by its name in the API; `server` has the tools, by a name that
    it did not have before."""
    if before.system != after.system:
        # By that request, because no other takes a system prompt.
        yield {
            "subtype": "set_model",
            "model": model,
            "only_if_model_is_current": True,
            "system_prompt": after.system,
        }
    if flags := {**_effort(before, after), **_max_tokens(before, after)}:
        yield {"subtype": "apply_flag_settings", "settings": flags}
    if before.tools != after.tools:
        servers = {server: {"type": "sdk", "name": server}} if after.tools else {}
        yield {"subtype": "mcp_set_servers", "servers": servers}


def _effort(before: Settings, after: Settings) -> dict[str, Any]:
    return {} if before.effort == after.effort else {"effortLevel": after.effort}


def _max_tokens(before: Settings, after: Settings) -> dict[str, Any]:
    """An empty text takes the limit away."""
    if before.max_tokens == after.max_tokens:
        return {}
    limit = "" if after.max_tokens is None else str(after.max_tokens)
    return {"env": {MAX_TOKENS: limit}}
