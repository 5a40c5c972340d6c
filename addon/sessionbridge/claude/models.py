"""Which model answers a request: the names the Claude CLI understands, and what others become."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from sessionbridge.errors import ModelNotFound
from sessionbridge.names import is_model

DEFAULT = "default"
"""The CLI's own word for the model of the user's plan. Always passed: without a name a resume takes
the model its transcript mentions (measured with 2.1.332)."""

Table = Sequence[tuple[str, str]]
"""Patterns of names that clients write, each with the model to run for it; the first one counts."""

Unknown = Literal["default", "pass", "refuse"]
"""What becomes of a name that is neither in the table nor Claude's."""

_CLAUDE = re.compile(
    r"(claude-[\w.@-]{1,192}|default|best|sonnet|opus|haiku|fable|opusplan)(\[1m\])?", re.I | re.A
)
_PASSABLE = re.compile(r"[A-Za-z0-9][\w.:/@+-]{0,199}(\[1m\])?", re.A)
"""A name as a cloud's or a gateway's; no other could be one, and it goes on a command line."""

_CLOUDS_VERSION = re.compile(r"(-v\d+)?:[\w-]+(?=$|\[)|-v\d+$")
"""What Bedrock and routers add: `-v1:0`, `:beta`."""

_DOT = re.compile(r"(?<=[3-9])\.(?=\d)")
"""In a version; those before 3 have it by themselves (`claude-2.1`)."""
_TURNED = re.compile(r"^claude-(4-\d|5-\d|[45])-(sonnet|opus|haiku)(?=$|\[|-\d{8})", re.I)


@dataclass(frozen=True, slots=True)
class Choice:
    """The model to run, and whether the client's own word for it had no effect."""

    model: str
    ignored: bool = False


def is_claude(model: str) -> bool:
    """True for a Claude model id (`claude-…`) or an alias of the CLI, False for `gpt-4o`."""
    return _CLAUDE.fullmatch(model) is not None


def choice(model: str, table: Table = (), unknown: Unknown = "default") -> Choice:
    """Raises `ModelNotFound` for a name that is not to be run at all."""
    if (named := mapped(model, table)) is not None:
        return Choice(named)
    # What is to be passed may be meant for the cloud or gateway that the CLI is set up to call.
    if unknown != "pass" and (meant := _without_provider(model)) is not None:
        return Choice(meant)
    if is_claude(model):
        return Choice(model if unknown == "pass" else _dashed(model))
    if unknown == "default":
        return Choice(DEFAULT, ignored=True)
    if unknown == "pass" and _PASSABLE.fullmatch(model):
        return Choice(model)
    raise not_found(model)


def _without_provider(model: str) -> str | None:
    """Claude's own name in one of a gateway's or a cloud's: `anthropic/claude-sonnet-4.5`,
    `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `vertex_ai/claude-haiku-4-5@20251001`."""
    name = re.split(r"/|anthropic\.", model)[-1]
    name = _CLOUDS_VERSION.sub("", name)
    return _dashed(name.replace("@", "-")) if name != model and is_claude(name) else None


def _dashed(model: str) -> str:
    """Versions as Anthropic writes them: `claude-sonnet-4-5`, whose order some programs turn round
    (`claude-4.5-sonnet`)."""
    name = _DOT.sub("-", model)
    return _TURNED.sub(r"claude-\2-\1", name)


def mapped(model: str, table: Table) -> str | None:
    """The table's model for a name."""
    return next((target for pattern, target in table if is_match(model, pattern)), None)


def is_match(model: str, pattern: str) -> bool:
    """Whatever its case. A pattern is also found by its own letters: `opus[1m]` would mean `opus1`
    or `opusm` otherwise."""
    name, known = model.lower(), pattern.lower()
    return name == known or fnmatchcase(name, known)


def check_table(table: Table, *, clouds: bool = False) -> None:
    """Raises ValueError naming the row that can never be obeyed. The names of `clouds` and gateways
    can be, by a CLI that is set up to call one."""
    for pattern, target in table:
        if not pattern.strip():
            raise ValueError(f"models: {pattern!r} is not the name of a model")
        if not (is_claude(target) or (clouds and _PASSABLE.fullmatch(target))):
            raise ValueError(f"models: {pattern!r} = {target!r} names no model of the Claude CLI")


def literal(table: Table) -> list[str]:
    """The names in the table that are names rather than patterns."""
    return [pattern for pattern, _ in table if not set("*?[") & set(pattern)]


def not_found(model: str) -> ModelNotFound:
    name = model if is_model(model) else "this name"
    return ModelNotFound(f"model: {name} is not known here; name one of Claude's, such as sonnet.")
