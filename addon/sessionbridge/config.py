"""Settings, validated once: from mitmproxy's options, the environment and a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sessionbridge.claude.cli.environment import parse_extra
from sessionbridge.claude.models import Unknown, check_table
from sessionbridge.claude.pool import machine
from sessionbridge.sessions.origins.rule import OriginRule
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.sessions.store.store import DATABASE_NAME

Unkeyed = Literal["passthrough", "stateless", "continue", "fingerprint"]
UNKEYED: tuple[Unkeyed, ...] = get_args(Unkeyed)
WhenLost = Literal["fresh", "error"]
WHEN_LOST: tuple[WhenLost, ...] = get_args(WhenLost)
UNKNOWN_MODEL: tuple[Unknown, ...] = get_args(Unknown)
Api = Literal["messages", "chat", "responses"]
PROVIDER = "claude"
"""The one Claude profile there is; part of every session key, so that accounts never mix."""

_LEAST = {
    "live": 0,
    "idle": 1,
    "spare": 0,
    "concurrency": 1,
    "queue": 0,
    "timeout": 1,
    "first_token_timeout": 1,
    "tool_wait": 1,
    "retries": 0,
    "keep_flows": 0,
}
_OFF = {"0", "false", "no", "off"}


class Endpoint(BaseModel):
    """A place that speaks a bridged API; `host` is without a port, `path` without a query."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    path: str
    api: Api


BUILT_IN_PATHS: Mapping[str, Api] = {
    "/v1/messages": "messages",
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
}
BUILT_IN_HOSTS = ("api.anthropic.com", "api.openai.com")


class ConfigFile(BaseModel):
    """The TOML file of `sessionbridge_config`. `models` says by pattern what runs for a name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoints: tuple[Endpoint, ...] = ()
    origins: tuple[OriginRule, ...] = ()
    models: Mapping[str, str] = {}


class Options(Protocol):
    """The `sessionbridge_…` options as mitmproxy holds them."""

    sessionbridge_home: str
    sessionbridge_config: str
    sessionbridge_unkeyed: str
    sessionbridge_claude: str
    sessionbridge_claude_env: Sequence[str]
    sessionbridge_live: int | None
    sessionbridge_idle: int
    sessionbridge_spare: int
    sessionbridge_concurrency: int | None
    sessionbridge_queue: int
    sessionbridge_timeout: int
    sessionbridge_first_token_timeout: int
    sessionbridge_tool_wait: int
    sessionbridge_retries: int
    sessionbridge_memory_lost: str
    sessionbridge_unknown_model: str
    sessionbridge_upstream: bool
    sessionbridge_watch: bool
    sessionbridge_keep_flows: int | None
    sessionbridge_claude_code: bool
    sessionbridge_allow_remote: bool
    sessionbridge_allow_origins: Sequence[str]
    sessionbridge_strict: bool


@dataclass(frozen=True, slots=True)
class Settings:
    """`idle`, `timeout`, `first_token_timeout` and `tool_wait` are seconds. `mapper` is False when
    the environment switches the session map off for the whole process. `models` are the rows that
    say what runs for a name, in order. Without `upstream` there is no API to pass anything on to.
    `keep_flows` is None for all of them. `allow_origins` are patterns of web origins.
    """

    home: Path
    mapper: bool
    unkeyed: Unkeyed
    endpoints: tuple[Endpoint, ...]
    origins: tuple[OriginRule, ...]
    models: tuple[tuple[str, str], ...]
    claude: Path | None
    claude_env: Mapping[str, str]
    live: int
    idle: int
    spare: int
    concurrency: int
    queue: int
    timeout: int
    first_token_timeout: int
    tool_wait: int
    retries: int
    memory_lost: WhenLost
    unknown_model: Unknown
    upstream: bool
    watch: bool
    keep_flows: int | None
    claude_code: bool
    allow_remote: bool
    allow_origins: tuple[str, ...]
    strict: bool

    @property
    def database(self) -> Path:
        return self.home / DATABASE_NAME

    @property
    def locks(self) -> Path:
        return locks_folder(self.home)


def locks_folder(home: Path) -> Path:
    return home / "locks"


def home_dir(named: str, environment: Mapping[str, str]) -> Path:
    """The option, else `SESSIONBRIDGE_HOME`, else `~/.sessionbridge`."""
    name = named or environment.get("SESSIONBRIDGE_HOME") or "~/.sessionbridge"
    return _path("sessionbridge_home", name)


def load(options: Options, environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises ValueError with a sentence that names the option and its value."""
    for name, least in _LEAST.items():
        value = getattr(options, f"sessionbridge_{name}")
        if value is not None and value < least:
            raise ValueError(f"sessionbridge_{name}={value} is too small.")
    unkeyed = _one_of(UNKEYED, "unkeyed", options.sessionbridge_unkeyed)
    if unkeyed == "passthrough" and not options.sessionbridge_upstream:
        unkeyed = "stateless"
    memory_lost = _one_of(WHEN_LOST, "memory_lost", options.sessionbridge_memory_lost)
    unknown_model = _one_of(UNKNOWN_MODEL, "unknown_model", options.sessionbridge_unknown_model)
    try:
        claude_env = parse_extra(options.sessionbridge_claude_env, environment)
    except ValueError as error:
        raise ValueError(f"sessionbridge_claude_env: {error}.") from error
    file = _read_config(options.sessionbridge_config)
    claude = options.sessionbridge_claude
    return Settings(
        home=home_dir(options.sessionbridge_home, environment),
        mapper=environment.get("SESSIONBRIDGE_MAPPER", "1").strip().lower() not in _OFF,
        unkeyed=unkeyed,
        endpoints=file.endpoints,
        origins=file.origins,
        models=tuple(file.models.items()),
        claude=_path("sessionbridge_claude", claude) if claude else None,
        claude_env=claude_env,
        live=_or(options.sessionbridge_live, machine.processes()),
        idle=options.sessionbridge_idle,
        spare=options.sessionbridge_spare,
        concurrency=_or(options.sessionbridge_concurrency, machine.processes()),
        queue=options.sessionbridge_queue,
        timeout=options.sessionbridge_timeout,
        first_token_timeout=options.sessionbridge_first_token_timeout,
        tool_wait=options.sessionbridge_tool_wait,
        retries=options.sessionbridge_retries,
        memory_lost=memory_lost,
        unknown_model=unknown_model,
        upstream=options.sessionbridge_upstream,
        watch=options.sessionbridge_watch,
        keep_flows=options.sessionbridge_keep_flows,
        claude_code=options.sessionbridge_claude_code,
        allow_remote=options.sessionbridge_allow_remote,
        allow_origins=tuple(options.sessionbridge_allow_origins),
        strict=options.sessionbridge_strict,
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _one_of[T: str](choices: tuple[T, ...], name: str, value: str) -> T:
    if value not in choices:
        raise ValueError(f"sessionbridge_{name}={value!r} is not one of {', '.join(choices)}.")
    return value


def _read_config(name: str) -> ConfigFile:
    if not name:
        return ConfigFile()
    path = _path("sessionbridge_config", name)
    try:
        file = ConfigFile.model_validate(tomllib.loads(path.read_bytes().decode()))
        Origins.default(file.origins)
        check_table(tuple(file.models.items()))
        return file
    except OSError as error:
        why = error.strerror
        raise ValueError(f"sessionbridge_config={name!r} cannot be read: {why}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"sessionbridge_config={name!r} is not UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"sessionbridge_config={name!r} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"sessionbridge_config={name!r}, {where}: {first['msg']}.") from error
    except ValueError as error:  # of the origins or the models, which names the row
        raise ValueError(f"sessionbridge_config={name!r}: {error}.") from error


def _path(option: str, name: str) -> Path:
    try:
        return Path(name).expanduser().absolute()
    except RuntimeError as error:  # "~" or "~name" of somebody without a home folder
        raise ValueError(f"{option}={name!r}: {error}") from error
