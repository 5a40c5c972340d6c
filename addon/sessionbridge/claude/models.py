"""Which model names the Claude CLI understands."""

from __future__ import annotations

import re

DEFAULT = "default"
"""The CLI's own word for the model of the user's plan. Always passed: without a name a resume takes
the model its transcript mentions (measured)."""

_CLAUDE = re.compile(r"(claude-[\w.@-]+|default|best|sonnet|opus|haiku|opusplan)(\[1m\])?", re.I)


def is_claude(model: str) -> bool:
    """True for a Claude model id (`claude-…`) or an alias of the CLI, False for `gpt-4o`."""
    return _CLAUDE.fullmatch(model) is not None


def chosen(model: str) -> str:
    """The name to run: a program that asks for `gpt-4o` gets the default."""
    return model if is_claude(model) else DEFAULT
