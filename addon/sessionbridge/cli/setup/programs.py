"""What is changed in the configuration of each program, as its page in addon/platforms has it.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from sessionbridge.cli.setup.formats import (
    Setter,
    Values,
    in_json,
    in_json5,
    in_toml,
    in_yaml_list,
)
from sessionbridge.cli.setup.jsonc import NoObject

_TITLE = "Claude by the bridge"
_CONTEXT, _OUTPUT = 200_000, 32_000
_MODEL = {
    "id": "sonnet",
    "name": _TITLE,
    "input": ["text", "image"],
    "contextWindow": _CONTEXT,
    "maxTokens": _OUTPUT,
}
"""Tokens."""


_CONTINUE_HEAD = f"name: {_TITLE}\nversion: 1.0.0\nschema: v1\n"


@dataclass(frozen=True, slots=True)
class Program:
    """`places` are the files that it reads, the usual one first: that one is written where there is
    none. `values` are what is set for a bridge's address, by path. `then` is what is left to do."""

    places: Callable[[Path, Mapping[str, str]], Sequence[Path]]
    values: Callable[[str], Values]
    set: Setter
    then: str = ""


def _below(variable: str, folder: str, *names: str) -> Callable[..., list[Path]]:
    """Files of a folder, which is below the home where the variable names no other."""

    def places(home: Path, environment: Mapping[str, str]) -> list[Path]:
        given = environment.get(variable)
        return [(Path(given) if given else home / folder) / name for name in names]

    return places


def _in_config(program: str) -> Callable[[Path, Mapping[str, str]], list[Path]]:
    def places(home: Path, environment: Mapping[str, str]) -> list[Path]:
        folder = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / program
        return [folder / f"{program}.json", folder / f"{program}.jsonc"]

    return places


def _codex_values(address: str) -> Values:
    provider = ("model_providers", "bridge")
    return {
        ("model",): "sonnet",
        ("model_provider",): "bridge",
        (*provider, "name"): _TITLE,
        (*provider, "base_url"): f"{address}/v1",
        (*provider, "wire_api"): "responses",
    }


def _ai_sdk_values(address: str) -> Values:
    """opencode, and Kilo, which began as a copy of it."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": _TITLE,
        "options": {"baseURL": f"{address}/v1", "apiKey": "unused"},
        "models": {"sonnet": {"name": "Sonnet", "limit": {"context": _CONTEXT, "output": _OUTPUT}}},
    }
    return {("provider", "bridge"): provider, ("model",): "bridge/sonnet"}


def _qwen_values(address: str) -> Values:
    """In a provider of our own, so that the lists of others stay as they are."""
    model = {
        "id": "sonnet",
        "name": _TITLE,
        "envKey": "BRIDGE_API_KEY",
        "baseUrl": f"{address}/v1",
        "generationConfig": {
            "contextWindowSize": _CONTEXT,
            "customHeaders": {"X-SessionBridge-Session": "${session_id}"},
        },
    }
    return {
        ("env", "BRIDGE_API_KEY"): "unused",
        ("modelProviders", "bridge"): [model],
        ("providerProtocol", "bridge"): "openai",
        ("outboundCorrelation", "allowDynamicHeaderValues"): True,
        ("security", "auth", "selectedType"): "openai",
        ("model", "name"): "sonnet",
    }


def _cline(home: Path, environment: Mapping[str, str]) -> list[Path]:
    """Each of the variables is for a part of the path (3.0.65)."""
    named = environment.get("CLINE_PROVIDER_SETTINGS_PATH")
    folder = Path(environment.get("CLINE_DIR") or home / ".cline")
    data = Path(environment.get("CLINE_DATA_DIR") or folder / "data")
    return [Path(named) if named else data / "settings" / "providers.json"]


def _cline_values(address: str) -> Values:
    """What `cline auth` writes. When that was must be there and is of no use; a fixed time is no
    change of its own."""
    provider = ("providers", "openai-compatible")
    return {
        ("version",): 1,
        ("lastUsedProvider",): provider[1],
        (*provider, "settings", "provider"): provider[1],
        (*provider, "settings", "apiKey"): "unused",
        (*provider, "settings", "model"): "sonnet",
        (*provider, "settings", "baseUrl"): f"{address}/s/cline/v1",
        (*provider, "updatedAt"): "2026-01-01T00:00:00.000Z",
        (*provider, "tokenSource"): "manual",
    }


def _pi_values(address: str) -> Values:
    provider = {
        "baseUrl": address,
        "api": "anthropic-messages",
        "apiKey": "unused",
        "compat": {"sendSessionAffinityHeaders": True},
        "models": [_MODEL],
    }
    return {("providers", "bridge"): provider}


def _llm(home: Path, environment: Mapping[str, str]) -> list[Path]:
    folder = environment.get("LLM_USER_PATH") or click.get_app_dir("io.datasette.llm")
    return [Path(folder) / "extra-openai-models.yaml"]


def _llm_values(address: str) -> Values:
    model = {
        "model_id": "bridge",
        "model_name": "sonnet",
        "api_base": f"{address}/s/llm/v1",
        "vision": True,
        "supports_tools": True,
    }
    return {(): model}


def _continue_values(address: str) -> Values:
    model = {
        "name": _TITLE,
        "provider": "openai",
        "model": "sonnet",
        "apiBase": f"{address}/s/continue/v1",
        "apiKey": "unused",
        "roles": ["chat", "edit"],
        "capabilities": ["tool_use", "image_input"],
    }
    return {("models",): model}


def _openclaw(home: Path, environment: Mapping[str, str]) -> list[Path]:
    named = environment.get("OPENCLAW_CONFIG_PATH")
    folder = Path(environment.get("OPENCLAW_STATE_DIR") or home / ".openclaw")
    return [Path(named) if named else folder / "openclaw.json"]


def _openclaw_values(address: str) -> Values:
    provider = {
        "baseUrl": address,
        "apiKey": "unused",
        "api": "anthropic-messages",
        "models": [_MODEL],
    }
    return {
        ("models", "providers", "bridge"): provider,
        ("agents", "defaults", "model", "primary"): "bridge/sonnet",
    }


def _in_openclaw(text: str, values: Values) -> str:
    """Its model may be a word in the place of an object."""
    try:
        return in_json5(text, values)
    except NoObject:
        *others, (primary, model) = values.items()
        return in_json5(text, {**dict(others), primary[:-1]: model})


PROGRAMS: Mapping[str, Program] = {
    "codex": Program(_below("CODEX_HOME", ".codex", "config.toml"), _codex_values, in_toml),
    "opencode": Program(_in_config("opencode"), _ai_sdk_values, in_json),
    "kilo": Program(_in_config("kilo"), _ai_sdk_values, in_json),
    "qwen-code": Program(_below("QWEN_HOME", ".qwen", "settings.json"), _qwen_values, in_json),
    "cline": Program(_cline, _cline_values, in_json),
    "pi": Program(
        _below("PI_CODING_AGENT_DIR", ".pi/agent", "models.json"),
        _pi_values,
        in_json,
        "Choose it with  pi --model bridge/sonnet  or /model.",
    ),
    "llm": Program(_llm, _llm_values, in_yaml_list("model_id"), "Ask it with  llm -m bridge ."),
    "continue": Program(
        _below("CONTINUE_GLOBAL_DIR", ".continue", "config.yaml"),
        _continue_values,
        in_yaml_list("name", _CONTINUE_HEAD),
    ),
    "openclaw": Program(_openclaw, _openclaw_values, _in_openclaw, "Restart OpenClaw's gateway."),
}
