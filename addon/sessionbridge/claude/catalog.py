"""The models the Claude CLI offers, as it tells them when it starts.

Measured with 2.1.330: `get_server_info()["models"]` is a list of objects with `value` (what
`--model` takes), `displayName`, `description`, `resolvedModel` and what the model can do. It is the
same without a login, and nothing is asked of the API for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """A model by the name that runs it, and the one people read."""

    id: str
    name: str


def catalog(told: object) -> tuple[Model, ...]:
    """What can be read of the CLI's list, in its order; another CLI may tell less, or nothing."""
    return once(filter(None, map(_model, told if isinstance(told, list) else [])))


def once(models: Iterable[Model]) -> tuple[Model, ...]:
    """The first of those with equal ids."""
    found: dict[str, Model] = {}
    for model in models:
        found.setdefault(model.id, model)
    return tuple(found.values())


def _model(entry: object) -> Model | None:
    match entry:
        case {"value": str(value), "displayName": str(name)} if value:
            return Model(value, name or value)
        case {"value": str(value)} if value:
            return Model(value, value)
    return None
