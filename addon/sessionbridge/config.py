"""Settings, validated once: from mitmproxy's options, the environment and a TOML file.

An option is declared in one place, as a field of `Settings`: name, type, default, bounds or
choices, and help. What mitmproxy registers is derived from that (`OPTIONS`), and a test holds the
table that people read to it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)
from pydantic.fields import FieldInfo

from sessionbridge.claude.cli.environment import parse_extra
from sessionbridge.claude.models import Unknown, check_table
from sessionbridge.claude.pool import machine
from sessionbridge.claude.work_dirs import DEFAULT
from sessionbridge.endpoints import Endpoint, listed
from sessionbridge.providers import (
    Environment,
    Provider,
    all_of,
    check_together,
    default_of,
)
from sessionbridge.sessions.origins.rule import OriginRule
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.sessions.store.places import VARIABLE, unusable

Unkeyed = Literal["passthrough", "stateless", "continue", "fingerprint"]
WhenLost = Literal["fresh", "error"]
PREFIX = "sessionbridge_"

_Default = str | bool | int | list[str] | None
_OFF = {"0", "false", "no", "off"}


class ConfigFile(BaseModel):
    """The TOML file of `sessionbridge_config`. `models` says by pattern what runs for a name;
    `providers` are Claude accounts by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoints: Annotated[tuple[Endpoint, ...], BeforeValidator(listed)] = ()
    origins: tuple[OriginRule, ...] = ()
    models: Mapping[str, str] = {}
    providers: Mapping[str, Provider] = {}


def _path(name: str, info: ValidationInfo) -> Path:
    try:
        return Path(name).expanduser().absolute()
    except RuntimeError as error:  # "~" or "~name" of somebody without a home folder
        raise ValueError(f"{PREFIX}{info.field_name}={name!r}: {error}") from error


def _home(named: str, info: ValidationInfo) -> Path:
    """The option, else `SESSIONBRIDGE_HOME`, else `~/.sessionbridge`."""
    environment = _environment(info)
    return _path(named or environment.get("SESSIONBRIDGE_HOME") or "~/.sessionbridge", info)


def _store(named: str, info: ValidationInfo) -> str:
    """The option, else `SESSIONBRIDGE_STORE`, else nothing, which is the file of the home."""
    url = named or _environment(info).get(VARIABLE, "")
    if url and (why := unusable(url)):
        raise ValueError(why)
    return url


def _node(address: str, info: ValidationInfo) -> str:
    """Without what the requests that are sent there bring themselves."""
    if not address:
        return ""
    option = f"{PREFIX}{info.field_name}"
    try:
        parts = urlsplit(address)
        is_one = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:  # of a port that is none
        is_one = False
    if not is_one or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"{option} is not an address such as http://10.0.0.11:8080, and no more.")
    if not info.data.get("store"):
        raise ValueError(
            f"{option} is for nodes that share a database: give sessionbridge_store, too."
        )
    return f"http://{parts.netloc}"


def _claude(named: str, info: ValidationInfo) -> Path | None:
    return _path(named, info) if named else None


def _claude_env(entries: Sequence[str], info: ValidationInfo) -> dict[str, str]:
    try:
        return parse_extra(entries, _environment(info))
    except ValueError as error:
        raise ValueError(f"{PREFIX}{info.field_name}: {error}.") from error


def _environment(info: ValidationInfo) -> Mapping[str, str]:
    return info.context or {}


def _by_memory(number: int | None) -> int:
    return machine.processes() if number is None else number


def _spares_by_memory(number: int | None) -> int:
    return machine.spares() if number is None else number


def _only_with_an_api(unkeyed: Unkeyed, info: ValidationInfo) -> Unkeyed:
    if unkeyed == "passthrough" and not info.data.get("upstream", True):
        return "stateless"
    return unkeyed


def _file(name: str, info: ValidationInfo) -> ConfigFile:
    if not name:
        return ConfigFile()
    path = _path(name, info)
    option = f"{PREFIX}{info.field_name}={name!r}"
    try:
        file = ConfigFile.model_validate(tomllib.loads(path.read_bytes().decode()))
        origins = Origins.default(file.origins)
        check_table(tuple(file.models.items()))
        check_together(file.providers, {rule.scope for rule in origins.rules})
        return file
    except OSError as error:
        why = error.strerror
        raise ValueError(f"{option} cannot be read: {why}.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{option} is not UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{option} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{option}, {where}: {first['msg']}.") from error
    except ValueError as error:  # of the origins or the models, which names the row
        raise ValueError(f"{option}: {error}.") from error


def _option(
    default: _Default,
    help: str,
    *,
    least: int | None = None,
    most: int | None = None,
    secret: bool = False,
) -> Any:
    """The field of an option. mitmproxy holds `default`, or a value of its type; what the field is
    made of it is for the field's type to say. What is `secret` is not shown with the others."""
    return Field(
        default, validate_default=True, description=help, ge=least, le=most, repr=not secret
    )


class Settings(BaseModel):
    """Every option is declared here and nowhere else. Two fields are none: `mapper` is False when
    the environment switches the session map off for the whole process, and `provider` names the one
    that these are for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mapper: bool
    provider: str = DEFAULT
    home: Annotated[Path, BeforeValidator(_home)] = _option(
        "",
        "Folder of the session map and the bridge's working directories "
        "(default: $SESSIONBRIDGE_HOME or ~/.sessionbridge).",
    )
    store: Annotated[str, BeforeValidator(_store)] = _option(
        "",
        "Where the sessions are kept: the postgresql:// address of a database that several nodes "
        "share (default: $SESSIONBRIDGE_STORE, or a SQLite file in the home).",
        secret=True,
    )
    node: Annotated[str, BeforeValidator(_node)] = _option(
        "",
        "The address at which the other nodes of that database reach this one "
        "(http://10.0.0.11:8080). They pass on to it what goes on in a conversation whose Claude "
        "process waits here (default: they take such turns over).",
    )
    config: Annotated[ConfigFile, BeforeValidator(_file)] = _option(
        "",
        "TOML file with further origins ([[origins]]), endpoints ([endpoints]), names of models "
        "([models]) and Claude accounts ([providers.NAME]).",
    )
    upstream: bool = _option(
        True,
        "Whether there is an API to pass other requests on to. Without one the proxy is a local "
        "API server: it lists the models itself, answers 404 for the rest, and bridges requests "
        "without a conversation as stateless ones.",
    )
    unkeyed: Annotated[Unkeyed, AfterValidator(_only_with_an_api)] = _option(
        "passthrough",
        "Requests that name no conversation: passthrough to the real API, stateless (Claude "
        "answers and forgets), continue (all go to Claude's most recent session), or fingerprint "
        "(known by their first message).",
    )
    claude: Annotated[Path | None, BeforeValidator(_claude)] = _option(
        "", "Path of the Claude CLI (default: the one that comes with claude-agent-sdk)."
    )
    claude_env: Annotated[Mapping[str, str], BeforeValidator(_claude_env)] = _option(
        [],
        "Environment of the Claude CLI beyond the few names it gets: NAME to pass the proxy's own "
        "value on, as is best for keys, or NAME=VALUE, which others can read where it is on a "
        "command line. Give the option once for each.",
    )
    live: Annotated[int, BeforeValidator(_by_memory)] = _option(
        None,
        "Claude processes kept for the next turn of their sessions, some 110 MB each; 0 starts one "
        "for each turn (default: a quarter of the memory, at least 2).",
        least=0,
    )
    idle: int = _option(
        600, "Seconds such a process waits for its next turn before it is ended.", least=1
    )
    spare: Annotated[int, BeforeValidator(_spares_by_memory)] = _option(
        None,
        "Processes started ahead of new conversations, beside those; 0 for none (default: 4, or "
        "fewer where memory is short).",
        least=0,
    )
    concurrency: Annotated[int, BeforeValidator(_by_memory)] = _option(
        None,
        "Turns that run at the same time; others wait (default: as many as there may be processes "
        "by memory).",
        least=1,
    )
    queue: int = _option(
        100,
        "Turns that may wait, for the one before in their conversation or for their place; more "
        "are refused, to be tried again later.",
        least=0,
    )
    timeout: int = _option(1800, "Seconds a whole turn may take before it is stopped.", least=1)
    first_token_timeout: int = _option(
        180, "Seconds a turn may take until Claude's first token.", least=1
    )
    tool_wait: int = _option(
        600,
        "Seconds a Claude process waits for the results of the client's tools; those that come "
        "later are brought in.",
        least=1,
    )
    retries: int = _option(
        2,
        "How often the Claude CLI asks again when the API fails before the client is told.",
        least=0,
    )
    plan_share: int = _option(
        100,
        "Percent of a window of the Claude login's plan (5 hours, 7 days) from which on new turns "
        "are refused until it resets, to leave the rest to people at the same login; 100: never.",
        least=1,
        most=100,
    )
    memory_lost: WhenLost = _option(
        "fresh",
        "When a conversation that only the bridge held is gone: begin anew and say so (fresh), or "
        "refuse with 409 (error).",
    )
    unknown_model: Unknown = _option(
        "default",
        "For model names that are neither Claude's nor in [models]: the default model of your plan "
        "answers (default), the name goes to the Claude CLI as it is (pass), or 404 (refuse).",
    )
    watch: bool = _option(
        False,
        "Count LLM requests that pass through too, to any host, in the ledger as `passthrough`.",
    )
    keep_flows: int | None = _option(
        None,
        "How many bridged flows mitmweb and mitmproxy keep, the newest ones (default: all).",
        least=0,
    )
    claude_code: bool = _option(
        False, "Bridge Claude Code itself too. It remembers its sessions, so its requests pass on."
    )
    allow_origins: tuple[str, ...] = _option(
        [],
        "Origins of web pages and extensions that may use the bridge, beside this machine's own, "
        "and further addresses it is reached by in reverse mode (http://bridge.lan:8080); * stands "
        "for anything (app://obsidian.md, vscode-webview://*). Give the option once for each.",
    )
    allow_remote: bool = _option(
        False,
        "Bridge requests of other machines that have a client's token (sessionbridge clients add). "
        "They use this machine's Claude login.",
    )
    require_token: bool = _option(False, "This machine's own requests need a client's token, too.")
    strict: bool = _option(
        False,
        "Refuse parameters that have no effect through the bridge (400) instead of naming them in "
        "x-sessionbridge-ignored.",
    )

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.config.endpoints

    @property
    def origins(self) -> tuple[OriginRule, ...]:
        return self.config.origins

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """The rows that say what runs for a name, in order."""
        return (*self.table.models.items(), *self.config.models.items())

    @property
    def providers(self) -> Mapping[str, Provider]:
        """By name, those that are used without a table, too."""
        return all_of(self.config.providers)

    @property
    def default_provider(self) -> str:
        return default_of(self.config.providers)

    @property
    def table(self) -> Provider:
        """That of the provider."""
        return self.providers[self.provider]

    def of(self, provider: str) -> Settings:
        """These as they are for one provider."""
        table = self.providers[provider]
        own = ("claude", "live", "spare", "concurrency")
        given = {name: value for name in own if (value := getattr(table, name)) is not None}
        return self.model_copy(update={**given, "provider": provider})

    def environment(self, inherited: Mapping[str, str]) -> Environment:
        """Of the provider's CLI. The option is the default account's: of two accounts, neither is
        to have the other's key."""
        given = self.claude_env if self.provider == DEFAULT else {}
        return Environment(self.provider, self.table, given, inherited)


@dataclass(frozen=True, slots=True)
class Option:
    """One as mitmproxy lists it: of the type of its default, where None stands for no number."""

    name: str
    default: _Default
    help: str
    choices: tuple[str, ...] | None

    @classmethod
    def of(cls, name: str, field: FieldInfo) -> Option:
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else None
        return cls(f"{PREFIX}{name}", field.default, field.description or "", choices)


OPTIONS = tuple(
    Option.of(name, field)
    for name, field in Settings.model_fields.items()
    if field.description is not None
)


def load(options: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> Settings:
    """From values of `OPTIONS` by name; one that is left out has its default. Raises ValueError
    with a sentence that names the option and its value."""
    given = {name.removeprefix(PREFIX): value for name, value in options.items()}
    mapper = environment.get("SESSIONBRIDGE_MAPPER", "1").strip().lower() not in _OFF
    try:
        return Settings.model_validate({**given, "mapper": mapper}, context=environment)
    except ValidationError as error:
        sentence = _sentence(error)
    # Raised outside the handler: the pydantic error quotes the values, keys among them, and
    # mitmproxy writes what an error was raised from into its log.
    raise ValueError(sentence)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    option, value = f"{PREFIX}{first['loc'][0]}", first["input"]
    match first["type"]:
        case "value_error":  # a validator's of this file, whose sentence is whole
            return str(first["ctx"]["error"])
        case "greater_than_equal":
            return f"{option}={value} is too small."
        case "less_than_equal":
            return f"{option}={value} is too large."
        case "literal_error":
            (choices,) = (one.choices for one in OPTIONS if one.name == option)
            return f"{option}={value!r} is not one of {', '.join(choices or ())}."
    return f"{option}={value!r}: {first['msg']}."
