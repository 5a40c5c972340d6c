"""The `sessionbridge_…` options as mitmproxy lists them; `config` reads and checks their values."""

from __future__ import annotations

# `collections.abc.Sequence` is the type mitmproxy compares with: `typing.Sequence` makes it drop
# the whole addon as soon as a value is given on the command line.
from collections.abc import Sequence
from typing import Any

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from sessionbridge.config import UNKEYED, UNKNOWN_MODEL, WHEN_LOST

_INT_OR_UNSET: Any = int | None


def add(loader: Loader) -> str | None:
    """Adds them all; returns what is wrong with a value that was given for one.

    mitmproxy would read those values only after `load`, and drop the addon without a word when one
    cannot be read (`--set sessionbridge_retries=x`): everything would pass on to the real API.
    """
    _add_all(loader)
    try:
        ctx.options.process_deferred()
    except exceptions.OptionsError as error:
        for name in [name for name in ctx.options.deferred if name.startswith("sessionbridge_")]:
            del ctx.options.deferred[name]
        return str(error)
    return None


def _add_all(loader: Loader) -> None:
    loader.add_option(
        "sessionbridge_home",
        str,
        "",
        "Folder of the session map and the bridge's working directories "
        "(default: $SESSIONBRIDGE_HOME or ~/.sessionbridge).",
    )
    loader.add_option(
        "sessionbridge_config",
        str,
        "",
        "TOML file with further origins ([[origins]]), endpoints ([[endpoints]]) and names of "
        "models ([models]).",
    )
    loader.add_option(
        "sessionbridge_unkeyed",
        str,
        "passthrough",
        "Requests that name no conversation: passthrough to the real API, stateless (Claude "
        "answers and forgets), continue (all go to Claude's most recent session), or fingerprint "
        "(known by their first message).",
        choices=UNKEYED,
    )
    loader.add_option(
        "sessionbridge_claude",
        str,
        "",
        "Path of the Claude CLI (default: the one that comes with claude-agent-sdk).",
    )
    loader.add_option(
        "sessionbridge_claude_env",
        Sequence[str],
        [],
        "Environment of the Claude CLI beyond the few names it gets: NAME=VALUE, or NAME to pass "
        "the proxy's own value on. Give the option once for each.",
    )
    loader.add_option(
        "sessionbridge_live",
        _INT_OR_UNSET,
        None,
        "Claude processes kept for the next turn of their sessions, some 200 MB each; 0 starts one "
        "for each turn (default: a quarter of the memory, at least 2).",
    )
    loader.add_option(
        "sessionbridge_idle",
        int,
        600,
        "Seconds such a process waits for its next turn before it is ended.",
    )
    loader.add_option(
        "sessionbridge_spare",
        int,
        1,
        "Processes started ahead for new conversations that begin like one before; 0 for none.",
    )
    loader.add_option(
        "sessionbridge_concurrency",
        _INT_OR_UNSET,
        None,
        "Turns that run at the same time; others wait (default: as many as there may be processes "
        "by memory).",
    )
    loader.add_option(
        "sessionbridge_queue",
        int,
        100,
        "Turns that may wait, for the one before in their conversation or for their place; more "
        "are refused, to be tried again later.",
    )
    loader.add_option(
        "sessionbridge_timeout", int, 1800, "Seconds a whole turn may take before it is stopped."
    )
    loader.add_option(
        "sessionbridge_first_token_timeout",
        int,
        180,
        "Seconds a turn may take until Claude's first token.",
    )
    loader.add_option(
        "sessionbridge_tool_wait",
        int,
        600,
        "Seconds a Claude process waits for the results of the client's tools; those that come "
        "later are brought in.",
    )
    loader.add_option(
        "sessionbridge_retries",
        int,
        2,
        "How often the Claude CLI asks again when the API fails before the client is told.",
    )
    loader.add_option(
        "sessionbridge_memory_lost",
        str,
        "fresh",
        "When a conversation that only the bridge held is gone: begin anew and say so (fresh), or "
        "refuse with 409 (error).",
        choices=WHEN_LOST,
    )
    loader.add_option(
        "sessionbridge_unknown_model",
        str,
        "default",
        "For model names that are neither Claude's nor in [models]: the default model of your plan "
        "answers (default), the name goes to the Claude CLI as it is (pass), or 404 (refuse).",
        choices=UNKNOWN_MODEL,
    )
    loader.add_option(
        "sessionbridge_upstream",
        bool,
        True,
        "Whether there is an API to pass other requests on to. Without one the proxy is a local "
        "API server: it lists the models itself, answers 404 for the rest, and bridges requests "
        "without a conversation as stateless ones.",
    )
    loader.add_option(
        "sessionbridge_watch",
        bool,
        False,
        "Count LLM requests that pass through too, to any host, in the ledger as `passthrough`.",
    )
    loader.add_option(
        "sessionbridge_keep_flows",
        _INT_OR_UNSET,
        None,
        "How many bridged flows mitmweb and mitmproxy keep, the newest ones (default: all).",
    )
    loader.add_option(
        "sessionbridge_claude_code",
        bool,
        False,
        "Bridge Claude Code itself too. It remembers its sessions, so its requests pass on.",
    )
    loader.add_option(
        "sessionbridge_allow_origins",
        Sequence[str],
        [],
        "Origins of web pages and extensions that may use the bridge, beside this machine's own; "
        "* stands for anything (app://obsidian.md, vscode-webview://*). Give the option once for "
        "each.",
    )
    loader.add_option(
        "sessionbridge_allow_remote",
        bool,
        False,
        "Bridge requests from other machines too. They use this machine's Claude login.",
    )
    loader.add_option(
        "sessionbridge_strict",
        bool,
        False,
        "Refuse parameters that have no effect through the bridge (400) instead of naming them in "
        "x-sessionbridge-ignored.",
    )
