"""What is changed in the configuration of each program, as its page in addon/platforms has it.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from sessionbridge.cli.setup.jsonc import with_value

type Values = Mapping[tuple[str, ...], Any]
type Setter = Callable[[str, Values], str]

_TITLE = "Claude by the bridge"


@dataclass(frozen=True, slots=True)
class Program:
    """`places` are the files that it reads, the usual one first: that one is written where there is
    none. `values` are what is set for a base URL, by path."""

    places: Callable[[Path, Mapping[str, str]], Sequence[Path]]
    values: Callable[[str], Values]
    set: Setter


def in_json(text: str, values: Values) -> str:
    """Raises `ValueError` for what cannot be read."""
    for path, value in values.items():
        text = with_value(text, path, value)
    return text


def in_toml(text: str, values: Values) -> str:
    """Raises `ValueError` for what cannot be read."""
    try:
        document = tomlkit.parse(text)
        for path, value in values.items():
            here = cast("Table", document)
            for name in path[:-1]:
                if name not in here:
                    # A table that holds nothing but tables is not written.
                    here[name] = tomlkit.table(is_super_table=path.index(name) < len(path) - 2)
                here = cast("Table", here[name])
            here[path[-1]] = value
        return tomlkit.dumps(document)
    except (TOMLKitError, TypeError) as error:
        raise ValueError(f"it is no TOML that can be changed: {error}") from error


def _config(environment: Mapping[str, str], home: Path) -> Path:
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config")


def _codex(home: Path, environment: Mapping[str, str]) -> list[Path]:
    return [Path(environment.get("CODEX_HOME") or home / ".codex") / "config.toml"]


def _codex_values(url: str) -> Values:
    provider = ("model_providers", "bridge")
    return {
        ("model",): "sonnet",
        ("model_provider",): "bridge",
        (*provider, "name"): _TITLE,
        (*provider, "base_url"): url,
        (*provider, "wire_api"): "responses",
    }


def _json_or_jsonc(program: str) -> Callable[[Path, Mapping[str, str]], list[Path]]:
    def places(home: Path, environment: Mapping[str, str]) -> list[Path]:
        folder = _config(environment, home) / program
        return [folder / f"{program}.json", folder / f"{program}.jsonc"]

    return places


def _ai_sdk_values(url: str) -> Values:
    """opencode, and Kilo, which began as a copy of it."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": _TITLE,
        "options": {"baseURL": url, "apiKey": "unused"},
        "models": {"sonnet": {"name": "Sonnet", "limit": {"context": 200_000, "output": 32_000}}},
    }
    return {("provider", "bridge"): provider, ("model",): "bridge/sonnet"}


PROGRAMS: Mapping[str, Program] = {
    "codex": Program(_codex, _codex_values, in_toml),
    "opencode": Program(_json_or_jsonc("opencode"), _ai_sdk_values, in_json),
    "kilo": Program(_json_or_jsonc("kilo"), _ai_sdk_values, in_json),
}
