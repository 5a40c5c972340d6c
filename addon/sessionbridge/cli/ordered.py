"""A group of commands that lists them in the order they were added, and loads each when it is
asked for: what one of them needs, a model SDK for one, takes a second to load that another would
wait for."""

from __future__ import annotations

from importlib import import_module

import click


class OrderedGroup(click.Group):
    """What a person needs first comes first, and not what begins with an A."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class LazyGroup(OrderedGroup):
    """`places` tells of each command by name where it is, as `module:attribute`."""

    def __init__(self, *args: object, places: dict[str, str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own, whatever they are
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (place := self._places.get(cmd_name)) is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command
