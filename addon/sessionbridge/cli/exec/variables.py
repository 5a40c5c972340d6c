"""The environment variables that lead a program through the bridge. Pure.

Which program reads which: certs/README.md. All of them are set, because nothing tells what kind of
program it is, and the programs that it starts may be of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sessionbridge.cli.mitm import HOST
from sessionbridge.program_runs import NOBODY

API_HOSTS = ("api.anthropic.com", "api.openai.com")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXY = ("HTTPS_PROXY", "HTTP_PROXY")
_BUNDLE = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
"""A program trusts nothing but what is in the file."""

_ADDED = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
"""It trusts that beside what it has built in. Node checks no more than the file's certificates, so
the bundle would do as well, and would cost each start of it."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """`ca` is mitmproxy's alone, `bundle` the system's and that one."""

    ca: Path
    bundle: Path


def proxy_address(port: int, user: str | None, password: str | None = None) -> str:
    """With both user and password where one is to be told: Node and Python's requests send none
    without the other (undici 7, `lib/dispatcher/proxy-agent.js`; requests 2.34, `adapters.py`)."""
    told = f"{quote(user or NOBODY, safe='')}:{password or 'any'}@" if user or password else ""
    return f"http://{told}{HOST}:{port}"


def through_proxy(
    address: str, certificates: Certificates, environment: Mapping[str, str]
) -> dict[str, str]:
    """What is set beside, or in place of, a program's `environment`."""
    variables = {name: address for name in _both_cases(_PROXY)}
    variables |= {name: str(certificates.bundle) for name in _BUNDLE}
    variables |= {name: str(certificates.ca) for name in _ADDED}
    return variables | {"NODE_USE_ENV_PROXY": "1"} | _not_by_proxy(environment)


def at_base_urls(
    anthropic_port: int, openai_port: int, session: str | None, environment: Mapping[str, str]
) -> dict[str, str]:
    """For programs that ask an address of their own choice and no proxy; it names the conversation
    (`proxy/path_prefix.py`). The libraries differ: one adds `/v1` itself, the other does not."""
    prefix = f"/s/{quote(session, safe='')}" if session else ""
    return {
        "ANTHROPIC_BASE_URL": f"http://{HOST}:{anthropic_port}{prefix}",
        "OPENAI_BASE_URL": f"http://{HOST}:{openai_port}{prefix}/v1",
    } | _not_by_proxy(environment)


def kept_from_proxy(environment: Mapping[str, str]) -> Sequence[str]:
    """The API hosts that a NO_PROXY of the program's own keeps from any proxy."""
    entries = [entry.strip().lower() for entry in _no_proxy(environment).split(",")]
    names = [entry.removeprefix("*").removeprefix(".") for entry in entries if entry]
    return [host for host in API_HOSTS if any(_covers(name, host) for name in names)]


def _covers(name: str, host: str) -> bool:
    """An empty name was `*`, which is all hosts."""
    return not name or host == name or host.endswith(f".{name}")


def _not_by_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """What the program's own NO_PROXY says stays, and loopback is added."""
    named = [entry for entry in _no_proxy(environment).split(",") if entry]
    listed = ",".join([*named, *(name for name in LOOPBACK if name not in named)])
    return {name: listed for name in _both_cases(("NO_PROXY",))}


def _no_proxy(environment: Mapping[str, str]) -> str:
    return environment.get("no_proxy") or environment.get("NO_PROXY") or ""


def _both_cases(names: Sequence[str]) -> list[str]:
    """curl reads `http_proxy` in small letters alone, others the large ones first."""
    return [form for name in names for form in (name, name.lower())]
