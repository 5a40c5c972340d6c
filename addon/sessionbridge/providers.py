"""Claude accounts by name (`[providers.NAME]` in the config): the login, CLI and environment that a
provider's turns run with, and which turns are its own.

A secret is never written there: only where it is, in a variable of the proxy's environment or in a
file. It is read when a process is started, so one that has changed counts from then on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from sessionbridge.allowances import Allowance
from sessionbridge.claude.cli.environment import ANTHROPIC, sets_a_secret, vendor
from sessionbridge.claude.models import check_table, is_match
from sessionbridge.claude.work_dirs import DEFAULT
from sessionbridge.errors import SecretMissing

NAME = r"[A-Za-z0-9._-]{1,64}"

_FOLDER_VARIABLES = ("CLAUDE_CONFIG_DIR", "HOME")
_SWITCHED = ("0", "1", "false", "true")
"""Whatever is named so, as CLAUDE_CODE_SKIP_VERTEX_AUTH is, no secret is this."""
_LIKE_A_SECRET = re.compile(r"^sk-|://[^/]*@|[?&][^=]*(key|token|secret)[^=]*=", re.I)


_Names = tuple[Annotated[str, Field(min_length=1)], ...]
"""One that is empty would be that of everybody who has none."""


def _path(named: str) -> Path:
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as error:  # "~" or "~name" of somebody without a home folder
        raise ValueError(str(error)) from error


class Provider(Allowance):
    """What is not given is as the options say; of those about Claude's environment only the default
    provider has anything. `models` are rows before the common ones."""

    config_dir: Path | None = None
    claude: Path | None = None
    env: Mapping[str, str] = {}
    models: Mapping[str, str] = {}
    live: Annotated[int, Field(ge=0)] | None = None
    spare: Annotated[int, Field(ge=0)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
    for_clients: _Names = ()
    for_models: _Names = ()
    for_platforms: _Names = ()
    default: bool = False
    fallback: tuple[str, ...] = ()

    @field_validator("config_dir", "claude", mode="before")
    @classmethod
    def _whole(cls, named: object) -> object:
        if named == "":
            raise ValueError("this is empty; name a path, or leave it out")
        return _path(named) if isinstance(named, str) else named

    @field_validator("env")
    @classmethod
    def _without_secrets(cls, env: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in env.items():
            _check(name, value)
        return env

    @model_validator(mode="after")
    def _runnable(self) -> Provider:
        check_table(tuple(self.models.items()), clouds=True)
        return self

    def runs(self, model: str) -> bool:
        """Whether it is for a model, by the name that the client has for it."""
        return any(is_match(model, pattern) for pattern in self.for_models)


class Environment(Mapping[str, str]):
    """The variables of a provider's CLI, each looked up when it is asked for: those that are
    `given` as they are, and those that its config names. Raises `SecretMissing` for one that is not
    where the config says."""

    def __init__(
        self,
        provider: str,
        table: Provider,
        given: Mapping[str, str],
        inherited: Mapping[str, str],
    ) -> None:
        self._provider = provider
        self._named = table.env
        folder = {} if table.config_dir is None else {"CLAUDE_CONFIG_DIR": str(table.config_dir)}
        self._given = {**given, **folder}
        self._inherited = inherited

    def __iter__(self) -> Iterator[str]:
        return iter({**self._given, **self._named})

    def __len__(self) -> int:
        return len({**self._given, **self._named})

    def __contains__(self, name: object) -> bool:
        return name in self._named or name in self._given

    def __getitem__(self, name: str) -> str:
        if name in self._named:
            return self._found(name, self._named[name])
        return self._given[name]

    @property
    def vendor(self) -> str:
        """Who serves the model to this CLI. Where it is not known, nobody does."""
        try:
            return vendor(self)
        except SecretMissing:
            return ANTHROPIC

    def _found(self, name: str, value: str) -> str:
        kind, _, place = value.partition(":")
        match kind:
            case "env":
                if found := self._inherited.get(place, ""):
                    return found
                why = f"the variable {place}, which is not set where the proxy runs"
            case "file":
                try:
                    if found := _path(place).read_text("utf-8").strip():
                        return found
                    why = f"the file {place}, which is empty"
                except (OSError, ValueError) as error:
                    reason = getattr(error, "strerror", None) or "it is no text"
                    why = f"the file {place}, which cannot be read ({reason})"
            case _:
                return value
        raise SecretMissing(self._provider, f"{name}: its config names {why}")


def _check(name: str, value: str) -> None:
    """Raises ValueError, without the value: it may be a key."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("this is not the name of a variable")
    if name in _FOLDER_VARIABLES:
        raise ValueError(f"name Claude's folder as config_dir, not as {name}")
    kind, colon, place = value.partition(":")
    if colon and kind in ("env", "file"):
        if not place.strip():
            raise ValueError(f"{name} = '{kind}:' names nothing behind the colon")
        return
    if value.lower() in _SWITCHED:
        return
    if sets_a_secret(f"{name}={value}") or _LIKE_A_SECRET.search(value):
        raise ValueError(
            f"{name} looks like a secret, which has no place in a config: write env:NAME for a "
            "variable of the proxy's environment, or file:PATH"
        )


def check_together(providers: Mapping[str, Provider], platforms: Collection[str]) -> None:
    """Raises ValueError for tables that cannot be obeyed together, or name none of the platforms
    that there are."""
    for name, table in providers.items():
        if not re.fullmatch(NAME, name):
            raise ValueError(
                f"providers: {name[:80]!r} is no name; take letters, digits, '.', '_' and '-', 64 "
                "at most"
            )
        for other in table.fallback:
            if other == name:
                raise ValueError(f"providers.{name}: fallback names {name!r} itself; name others")
            if other not in {DEFAULT, *providers}:
                raise ValueError(f"providers.{name}: fallback names {other!r}, which is none")
        for platform in table.for_platforms:
            if platform not in platforms:
                known = ", ".join(sorted(platforms))
                raise ValueError(
                    f"providers.{name}: for_platforms names {platform!r}, which is none; there are "
                    f"{known}"
                )
    defaults = [name for name, table in providers.items() if table.default]
    if defaults[1:]:
        raise ValueError(f"providers: {' and '.join(defaults)} are both the default; keep one")


def all_of(tables: Mapping[str, Provider]) -> dict[str, Provider]:
    """Those there are, in the order of the config. The one that needs no table, with the login and
    the options of the proxy, is among them."""
    return dict(tables) if DEFAULT in tables else {DEFAULT: Provider(), **tables}


def default_of(tables: Mapping[str, Provider]) -> str:
    return next((name for name, table in tables.items() if table.default), DEFAULT)
