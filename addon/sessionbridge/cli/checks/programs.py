"""Python, mitmproxy, the addon and the Claude CLI: are they there, new enough, and logged in?"""

from __future__ import annotations

import asyncio
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sessionbridge.claude.cli import installed
from sessionbridge.claude.cli.environment import parse_extra
from sessionbridge.claude.cli.launcher import try_settings
from sessionbridge.claude.cli.login import find_cli, is_logged_in
from sessionbridge.cli.checks.finding import Finding
from sessionbridge.errors import BridgeError

OLDEST_PYTHON = (3, 12)
MITMPROXY = ((12, 3), (13,))
"""The oldest that will do, and the first that was not there to be tried."""

_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_LOADING = 60
"""Seconds; it takes one or two."""

_NO_ANSWER = (OSError, ValueError, subprocess.TimeoutExpired)


def check_python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        return Finding("Python", "problem", found, f"Install Python {needed} or newer.")
    return Finding("Python", "ok", found)


def check_mitmproxy(bin_dir: Path) -> Finding:
    """`bin_dir` is where the programs of this Python are."""
    oldest, untried = MITMPROXY
    wanted = f"pip install 'mitmproxy>={'.'.join(map(str, oldest))},<{untried[0]}'"
    try:
        found = version("mitmproxy")
    except PackageNotFoundError:
        return Finding("mitmproxy", "problem", "not installed", wanted)
    missing = [name for name in ("mitmdump", "mitmweb") if not shutil.which(name, path=bin_dir)]
    if missing:
        return Finding(
            "mitmproxy", "problem", f"{found}, without {' and '.join(missing)} in {bin_dir}", wanted
        )
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:3])
    if not oldest <= numbers < untried:
        return Finding("mitmproxy", "problem", found, wanted)
    return Finding("mitmproxy", "ok", found)


def check_addon(python: Path, environment: Mapping[str, str]) -> Finding:
    """mitmproxy drops an addon that it cannot load, and everything passes on to the real API."""
    # Not from the folder this is run in, where mitmproxy would not look either.
    loaded = "import sessionbridge.proxy.addon, sessionbridge.claude.cli.launcher"
    command = [str(python), "-P", "-c", loaded]
    advice = "Install it once more, with all it needs:  pip install --force-reinstall"
    advice += " mitmproxy-sessionbridge  (from a clone: -e .)"
    try:
        subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_LOADING, check=True
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it says nothing"])[-1]
        return Finding("Addon", "problem", f"cannot be loaded: {said}", advice)
    except _NO_ANSWER as error:
        return Finding("Addon", "problem", f"not tried ({type(error).__name__})", advice)
    return Finding("Addon", "ok", "can be loaded")


def check_claude(
    named: Path | None, environment: Mapping[str, str], claude_env: Sequence[str] = ()
) -> list[Finding]:
    """Its version, and its login. `named` is a path, or None for the one the bridge would use;
    `claude_env` is what is known of the proxy's option."""
    cli = find_cli(named)
    if cli is None:
        found = f"not at {named}" if named else "not found"
        advice = (
            "Install claude-agent-sdk, which brings it along, or name another: "
            "--set sessionbridge_claude=PATH for the proxy, --claude PATH for doctor."
        )
        return [Finding("Claude CLI", "problem", found, advice)]
    try:
        number = installed.version(cli, environment)
    except _NO_ANSWER as error:
        found = f"{cli} does not tell its version ({type(error).__name__})"
        advice = f"Run  {cli} --version  and see what it says."
        return [Finding("Claude CLI", "problem", found, advice)]
    found = f"{number} at {cli}"
    if not installed.new_enough(number):
        advice = f"It is too old for the bridge:  {cli} update"
        return [Finding("Claude CLI", "problem", found, advice)]
    return [Finding("Claude CLI", "ok", found), _check_login(cli, environment, claude_env)]


def check_turn_settings(named: Path | None, environment: Mapping[str, str]) -> Finding:
    """Whether a Claude CLI takes other settings while it runs."""
    cli = find_cli(named)
    try:
        asyncio.run(asyncio.wait_for(try_settings(cli, environment), _LOADING))
    except (BridgeError, OSError, TimeoutError) as error:
        found = f"a process that runs takes no others ({str(error) or type(error).__name__})"
        advice = "Turns with others start a process each; another version of the CLI may take them."
        return Finding("Turn settings", "warning", found, advice)
    return Finding("Turn settings", "ok", "a process that runs takes others")


def _check_login(cli: Path, environment: Mapping[str, str], claude_env: Sequence[str]) -> Finding:
    try:
        extra = parse_extra(claude_env, environment)
    except ValueError as error:
        found = f"sessionbridge_claude_env of mitmproxy's configuration: {error}"
        return Finding("Claude login", "problem", found, "Correct it: NAME, or NAME=VALUE.")
    try:
        if is_logged_in(cli, environment, extra):
            return Finding("Claude login", "ok", "logged in")
    except _NO_ANSWER as error:
        found = f"the CLI could not be asked ({type(error).__name__})"
        return Finding("Claude login", "problem", found, f"Run  {cli} auth status")
    here = next((name for name in _KEYS if environment.get(name)), None)
    if here:
        found = f"not logged in; {here} is set in this shell, but the CLI gets it only if named"
        advice = f"Start the proxy with  --set sessionbridge_claude_env={here}  or log in."
        return Finding("Claude login", "warning", found, advice)
    advice = (
        f"{cli} auth login  or give the proxy a key:  "
        "--set sessionbridge_claude_env=ANTHROPIC_API_KEY"
    )
    return Finding("Claude login", "problem", "not logged in; turns fail with 401", advice)
