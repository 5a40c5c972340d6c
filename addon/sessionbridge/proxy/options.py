"""The `sessionbridge_…` options as mitmproxy lists them; `config` declares them and checks their
values."""

from __future__ import annotations

# `collections.abc.Sequence` is the type mitmproxy compares with: `typing.Sequence` makes it drop
# the whole addon as soon as a value is given on the command line.
from collections.abc import Sequence
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from sessionbridge.config import OPTIONS, PREFIX

_TYPES: dict[type, Any] = {
    str: str,
    bool: bool,
    int: int,
    list: Sequence[str],
    type(None): int | None,
}
"""mitmproxy's word for an option of this type, by that of its default."""


def add(loader: Loader) -> str | None:
    """Adds them all; returns what is wrong with a value that was given for one.

    mitmproxy would read those values only after `load`, and drop the addon without a word when one
    cannot be read (`--set sessionbridge_retries=x`): everything would pass on to the real API.
    """
    for option in OPTIONS:
        kind = _TYPES[type(option.default)]
        loader.add_option(option.name, kind, option.default, option.help, option.choices)
    try:
        ctx.options.process_deferred()
    except exceptions.OptionsError as error:
        for name in [name for name in ctx.options.deferred if name.startswith(PREFIX)]:
            del ctx.options.deferred[name]
        return str(error)
    return None


def values() -> dict[str, Any]:
    """As they are now, by name."""
    return {option.name: getattr(ctx.options, option.name) for option in OPTIONS}
