"""Where the bridged APIs are spoken: the two hosts that are always bridged, the table of those that
are switched on by name (`endpoints.toml`), and rows of the user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, StringConstraints

Api = Literal["messages", "chat", "responses", "ollama"]
APIS: tuple[Api, ...] = get_args(Api)

MODEL = "{model}"
ANY = "*"

Host = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[^*/\s]+$")]


class Endpoint(BaseModel):
    """A place that speaks a bridged API. `host` is a name, with a port where only that is meant, or
    all names below one (`*.example.com`). `path` is without a query; a segment of it may be `*` for
    any, or `{model}` for the model of bodies that name none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: Host
    path: str
    api: Api


BUILT_IN_PATHS: Mapping[str, Api] = {
    "/v1/messages": "messages",
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
}
BUILT_IN_HOSTS = ("api.anthropic.com", "api.openai.com")


@cache
def known() -> Mapping[str, Sequence[Endpoint]]:
    """The rows of the packaged table by the name they are switched on with."""
    text = resources.files(__package__).joinpath("endpoints.toml").read_text("utf-8")
    return {name: tuple(_rows(entry)) for name, entry in tomllib.loads(text).items()}


def _rows(entry: Mapping[str, Sequence[str]]) -> Iterable[Endpoint]:
    for api in APIS:
        for path in entry.get(api, ()):
            for host in entry["hosts"]:
                yield Endpoint(host=host, path=path, api=api)


def listed(given: Any) -> Any:
    """The rows of `endpoints` in a TOML file, for pydantic to check. That is a list of the user's
    own (`[[endpoints]]`), or, because TOML has no table and list of one name, a table with such a
    list (`[[endpoints.own]]`) and with `use`, names of the packaged table."""
    if not isinstance(given, dict):
        return given
    if further := sorted(given.keys() - {"use", "own"}):
        raise ValueError(f"{further[0]!r} is not known here; there are use and own")
    use, own = given.get("use", []), given.get("own", [])
    if not (isinstance(use, list) and isinstance(own, list)):
        raise ValueError("use and own are lists")
    for name in use:
        if name not in known():
            raise ValueError(f"use: {name!r} is none of {', '.join(known())}")
    # The user's own come first, so that an error tells the place that a row has in the file.
    return [*own, *(row for name in use for row in known()[name])]
