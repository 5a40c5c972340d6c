"""The environment of the Claude CLI: an allow-list, because what it inherits decides a lot.

A proxy variable would send the CLI's own API calls back into this proxy; a base URL, a key or a
cloud switch would change where and as whom it calls, and who pays. The SDK merges all of our
environment into the child's, so what is not allowed is blanked by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from sessionbridge.claude.cli.child_mark import CHILD_HEADER

# fmt: off
ALLOWED = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM",
    "TMPDIR", "TEMP", "TMP", "CLAUDE_CONFIG_DIR",
    "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",
    "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "APPDATA", "LOCALAPPDATA",
    "PROGRAMDATA",
})
# fmt: on
"""What a program needs to run at all, and where the user's own Claude login is found."""

FIXED = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "ENABLE_TOOL_SEARCH": "false",
    # Or it writes each request into the transcript once more, system prompt and tools with it.
    "CLAUDE_CODE_ELEGANT_MEADOW": "0",
    # Or the CLI asks again with a prompt of its own, and the client gets both answers.
    "CLAUDE_CODE_DISABLE_REFUSAL_RETRY": "1",
    # Or it asks an older model, where the newest ones refuse for some reasons.
    "CLAUDE_CODE_DISABLE_REFUSAL_FALLBACK": "1",
    # An answer asked for anew without a stream comes all at once, after what was streamed before.
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
}

ANTHROPIC = "anthropic"

_VENDORS = {
    "CLAUDE_CODE_USE_BEDROCK": "aws.bedrock",
    "CLAUDE_CODE_USE_FOUNDRY": "azure.ai.inference",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS": ANTHROPIC,
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD": ANTHROPIC,
    "CLAUDE_CODE_USE_MANTLE": "aws.bedrock",
    "CLAUDE_CODE_USE_VERTEX": "gcp.vertex_ai",
}
"""The first that is on holds, in this order (read in 2.1.332). Names as OpenTelemetry's conventions
have them for `gen_ai.provider.name`."""

_ON = ("1", "true", "yes", "on")

_SECRET = re.compile("key|token(?!s)|secret|passw|credential|auth|cookie|headers", re.I)
_PASSWORD = re.compile(r"://[^/@]*:[^/@]+@")


def child_environment(
    inherited: Mapping[str, str],
    chosen: Mapping[str, str],
    extra: Mapping[str, str],
    *,
    secret: str,
    retries: int,
) -> dict[str, str]:
    """What to hand to the SDK as `env`: allowed names as inherited, all others blanked, ours set.

    `chosen` is what this one process is to be like. `extra` comes from `sessionbridge_claude_env`
    and wins over everything but the secret header.
    """
    listed = {name: value if is_allowed(name) else "" for name, value in inherited.items()}
    ours = FIXED | {"CLAUDE_CODE_MAX_RETRIES": str(retries)} | dict(chosen)
    headers = [line for line in (extra.get("ANTHROPIC_CUSTOM_HEADERS"),) if line]
    headers.append(f"{CHILD_HEADER}: {secret}")
    return listed | ours | dict(extra) | {"ANTHROPIC_CUSTOM_HEADERS": "\n".join(headers)}


def is_allowed(name: str) -> bool:
    """Those of the CLI's engine, too: it does not start where one of them is empty (measured with
    2.1.332)."""
    return name.upper() in ALLOWED or name.startswith(("LC_", "BUN_JSC_"))


def vendor(environment: Mapping[str, str]) -> str:
    """Who serves the model to a CLI with this environment."""
    on = (name for name in _VENDORS if environment.get(name, "").strip().lower() in _ON)
    return next((_VENDORS[name] for name in on), ANTHROPIC)


def sets_a_secret(entry: str) -> bool:
    """Whether an entry is `NAME=VALUE` and the value looks like a key, by its name or as an address
    with a password in it."""
    name, _, value = entry.partition("=")
    return bool(value and (_SECRET.search(name) or _PASSWORD.search(value)))


def parse_extra(entries: Iterable[str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Reads `NAME=VALUE` (set it) and `NAME` (pass ours on). Raises ValueError for neither."""
    extra = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not name or name != name.strip():
            # Not the whole entry: its value may be a key.
            raise ValueError(f"{name!r} is not the name of a variable")
        if equals:
            extra[name] = value
        elif name in inherited:
            extra[name] = inherited[name]
    return extra


def secrets_on(command_line: Sequence[str]) -> Iterator[str]:
    """The names of variables for the Claude CLI that are given there with what looks like a key."""
    given = [after for word, after in pairwise(command_line) if word == "--set"]
    given += [word.removeprefix("--set=") for word in command_line if word.startswith("--set=")]
    for option in given:
        entry = option.removeprefix("sessionbridge_claude_env=")
        if entry != option and sets_a_secret(entry):
            yield entry.partition("=")[0]
