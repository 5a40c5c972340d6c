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
    """A model by the name that runs it, the one people read, and the API's own."""

    id: str
    name: str
    api_name: str


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
        case {"value": str(value), **more} if value:
            name, api_name = more.get("displayName"), more.get("resolvedModel")
            return Model(value, _told(name) or value, _told(api_name) or value)
    return None


def _told(value: object) -> str | None:
    return value if isinstance(value, str) else None


def api_name(model: str, models: Iterable[Model]) -> str:
    """What the API calls a model that is named for the CLI (`sonnet` is `claude-sonnet-5-5`)."""
    return next((known.api_name for known in models if known.id == model), model)
