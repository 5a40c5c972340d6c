"""Ages such as `24h`, as people write them."""

from __future__ import annotations

import re

import click

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds_in(value: str) -> int | None:
    """None for what is no age."""
    age = re.fullmatch(r"(\d{1,6})([mhdw])", value, re.ASCII)
    return int(age[1]) * _SECONDS[age[2]] if age else None


def age(value: str) -> int:
    """In seconds; refuses what is no age."""
    seconds = seconds_in(value)
    if seconds is None:
        raise click.BadParameter(f"{value!r} is not an age (90m, 24h, 30d, 2w).")
    return seconds
