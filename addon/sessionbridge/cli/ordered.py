"""A group of commands that lists them in the order they were added."""

from __future__ import annotations

import click


class OrderedGroup(click.Group):
    """What a person needs first comes first, and not what begins with an A."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)
