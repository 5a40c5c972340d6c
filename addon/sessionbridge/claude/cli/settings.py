"""How a CLI that runs is told what a turn is to be like: by requests that it does not document,
each of which leaves no trace in the conversation (measured with 2.1.332;
`tests/claude/test_settings_live.py` tells of a CLI that no longer takes them).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any

from sessionbridge.claude.job import MOST_TOKENS, Settings
from sessionbridge.model import Thinking

Request = Mapping[str, Any]

MAX_TOKENS = "CLAUDE_CODE_MAX_OUTPUT_TOKENS"


def can_change(before: Settings, after: Settings, *, begun: bool) -> bool:
    """Another schema is not taken, a system prompt is not taken away again, and another model would
    be told in a conversation that has `begun`."""
    if before.schema != after.schema or (begun and before.model != after.model):
        return False
    return bool(after.system or not before.system)


def names_told(before: Settings | None, after: Settings) -> tuple[str, ...]:
    """Of those that a process is told; at first of all that it is to have."""
    names = [field.name for field in fields(Settings)]
    if before is None:
        return tuple(name for name in names if getattr(after, name))
    return tuple(name for name in names if getattr(before, name) != getattr(after, name))


def first_request(settings: Settings, server: str) -> Request:
    """What the request with which the driver begins is to hold beside its own; `server` has the
    tools."""
    told: dict[str, Any] = {
        "systemPrompt": [settings.system],
        # Or a session keeps the system prompt it began with, whatever comes later.
        "systemPromptSnapshot": False,
        # With its manifest the CLI would save three questions, but then the server refuses calls,
        # because nobody has greeted it (measured with 2.1.332 and mcp 2.3.0).
        "sdkMcpServers": [server],
    }
    return told if settings.schema is None else told | {"jsonSchema": settings.schema}


def requests(
    before: Settings | None,
    after: Settings,
    model: str,
    server: str,
    kept: Collection[str] = (),
) -> Iterator[Request]:
    """`before` is None where only the first request has been made. `model` is the one that is to
    run, by its name in the API; `server` has the tools, by a name that it did not have before; the
    variables that are `kept` are not the client's to change."""
    if flags := _flags(before, after, model, kept):
        yield {"subtype": "apply_flag_settings", "settings": flags}
    if before and before.system != after.system:
        # By that request, because no other takes a system prompt.
        yield {
            "subtype": "set_model",
            "model": model,
            "only_if_model_is_current": True,
            "system_prompt": after.system,
        }
    thinking = after.thinking
    if thinking and (before is None or before.thinking != thinking):
        yield {
            "subtype": "set_max_thinking_tokens",
            "max_thinking_tokens": budget(thinking),
            "thinking_display": "summarized",
        }
    if before and before.tools != after.tools:
        servers = {server: {"type": "sdk", "name": server}} if after.tools else {}
        yield {"subtype": "mcp_set_servers", "servers": servers}


def budget(thinking: Thinking) -> int:
    """In tokens. Models that think as they see fit are not bound by one: for those the CLI drops
    it. For others it cuts what is more than there can be, so that without one the model may think
    as long as it can (measured with 2.1.332)."""
    return MOST_TOKENS if thinking.budget is None else thinking.budget


def environment(settings: Settings) -> dict[str, str]:
    """What can be told by variables alone."""
    told = {}
    if settings.max_tokens is not None:
        told[MAX_TOKENS] = str(settings.max_tokens)
    if settings.thinking is None:
        # Told to disable it, the CLI has the 5.5 models think all the same (measured with 2.1.332).
        told["CLAUDE_CODE_DISABLE_THINKING"] = "1"
    if not settings.compaction:
        told["DISABLE_AUTO_COMPACT"] = "1"
    return told


def _flags(
    before: Settings | None, after: Settings, model: str, kept: Collection[str]
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if before is None or before.model != after.model:
        # Not by `set_model`, which for some asks the API about the model; and not by a short name,
        # because by `haiku` a system prompt is not taken later.
        told["model"] = model
    if before is None or before.effort != after.effort:
        told["effortLevel"] = after.effort
    variables = _variables(environment(before) if before else {}, environment(after))
    if variables := {n: value for n, value in variables.items() if n not in kept}:
        told["env"] = variables
    return told


def _variables(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """What is not named keeps its value, and what is empty has none."""
    return {
        name: after.get(name, "")
        for name in (*before, *after)
        if before.get(name) != after.get(name)
    }
