"""The ways by which a program reaches the bridge: a proxy that runs, or one of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sessionbridge.cli.exec.certificates import prepared
from sessionbridge.cli.exec.own_proxy import free_ports, started
from sessionbridge.cli.exec.variables import (
    API_HOSTS,
    at_base_urls,
    proxy_address,
    through_proxy,
)
from sessionbridge.cli.mitm import CA_NAME, Mitm
from sessionbridge.cli.running_bridge import Mode, NoBridge, check_ca, mode_at
from sessionbridge.program_runs import new_run

_SPARE = "1"
"""Processes started ahead: a program begins few conversations at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person asked for."""

    home: Path
    confdir: Path
    session: str | None
    base_url: bool


@dataclass(frozen=True, slots=True)
class Way:
    """`variables` are what the program is given. What it uses is told by the `run` it is at a proxy
    that has others' requests too, and is all that the proxy answers where it is `alone`."""

    port: int
    mode: Mode
    variables: Mapping[str, str]
    run: str | None = None
    alone: bool = False


def to_running(port: int, wanted: Wanted) -> Way:
    """Raises `NoBridge` where no bridge at this port can be reached as it is wanted, OSError where
    the certificates cannot be written."""
    mode = mode_at(port)
    if mode == "reverse":
        if not wanted.base_url:
            raise NoBridge(
                f"The bridge at port {port} is in reverse mode, where it is nobody's proxy; add "
                "--base-url."
            )
        return Way(port, mode, at_base_urls(port, port, wanted.session, os.environ))
    if wanted.base_url:
        raise NoBridge(
            f"The bridge at port {port} is a regular proxy, to which no base URL leads; leave "
            "--base-url out, or name the port of one in reverse mode."
        )
    check_ca(port, wanted.confdir / CA_NAME)
    run = new_run()
    return Way(port, mode, _by_proxy(proxy_address(port, wanted.session, run), wanted), run)


@contextmanager
def to_own(wanted: Wanted) -> Iterator[Way]:
    """Raises what `to_running` does."""
    port, *reverse = free_ports(1 + len(API_HOSTS) * wanted.base_url)
    modes = ["--mode", "regular"]
    for host, at in zip(API_HOSTS, reverse, strict=False):
        modes += ["--mode", f"reverse:https://{host}@{at}"]
    mitm = Mitm(wanted.home, True, port, 0, wanted.confdir, {"spare": [_SPARE]})
    # A password would be asked of the program, which is given none.
    with started(mitm, *modes, "--set", "flow_detail=0", "--proxyauth", ""):
        variables = _by_proxy(proxy_address(port, wanted.session), wanted)
        if reverse:
            at_anthropic, at_openai = reverse
            variables |= at_base_urls(at_anthropic, at_openai, wanted.session, os.environ)
        yield Way(port, "regular", variables, alone=True)


def _by_proxy(address: str, wanted: Wanted) -> dict[str, str]:
    made = prepared(wanted.home, wanted.confdir / CA_NAME, os.environ)
    return through_proxy(address, made, os.environ)
