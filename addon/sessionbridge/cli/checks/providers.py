"""The Claude accounts that the config names: is each one's CLI there, and logged in?"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sessionbridge.claude.cli.login import find_cli, is_logged_in
from sessionbridge.claude.work_dirs import DEFAULT
from sessionbridge.cli.checks.finding import Finding
from sessionbridge.config import Settings, load
from sessionbridge.errors import SecretMissing


def check_providers(
    config: Path,
    claude: Path | None,
    claude_env: Sequence[str],
    environment: Mapping[str, str],
    clients: Collection[str] | None,
) -> list[Finding]:
    """`config` is the proxy's TOML file, `claude` its CLI where that is not the SDK's own, and
    `claude_env` what is known of that option; `clients` are the names that there are, None where
    they are not known."""
    options = {
        "sessionbridge_config": str(config),
        "sessionbridge_claude": str(claude or ""),
        "sessionbridge_claude_env": list(claude_env),
    }
    try:
        settings = load(options, environment)
    except ValueError as error:
        return [Finding("Config", "problem", str(error), "Correct it: docs/providers.md.")]
    if not settings.config.providers:
        return [Finding("Config", "ok", f"{config} names no providers")]
    found = [_check(settings.of(name), environment) for name in settings.config.providers]
    return found + ([] if clients is None else _check_clients(settings, clients))


def _check_clients(settings: Settings, clients: Collection[str]) -> list[Finding]:
    nobody = [
        f"for_clients of {name} names {client}"
        for name, table in settings.config.providers.items()
        for client in table.for_clients
        if client not in clients
    ]
    if not nobody:
        return []
    known = f"there are {', '.join(sorted(clients))}" if clients else "there are none"
    found = f"{'; '.join(nobody)}, which is no client: {known}"
    advice = "Correct it, or add the client: sessionbridge clients add NAME"
    return [Finding("Clients", "warning", found, advice)]


def _check(settings: Settings, environment: Mapping[str, str]) -> Finding:
    check = f"Provider {settings.provider}"
    cli = find_cli(settings.claude)
    if cli is None:
        advice = "Correct  claude  in its table, or leave that out."
        return Finding(check, "problem", f"no CLI at {settings.claude}", advice)
    try:
        extra = dict(settings.environment(environment))
    except SecretMissing as error:
        advice = "Its turns fail with 401 until then; those of the others do not."
        return Finding(check, "problem", error.found, advice)
    try:
        if is_logged_in(cli, environment, extra):
            return Finding(check, "ok", "logged in")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        found = f"the CLI could not be asked ({type(error).__name__})"
        return Finding(check, "problem", found, f"Run  {cli} auth status")
    folder = extra.get("CLAUDE_CONFIG_DIR")
    run = f"CLAUDE_CONFIG_DIR={folder} {cli} auth login" if folder else f"{cli} auth login"
    advice = f"{run}  or name a key in its env."
    if settings.provider == DEFAULT:
        advice += " (One that the proxy is started with is not seen here.)"
    return Finding(check, "problem", "not logged in; its turns fail with 401", advice)
