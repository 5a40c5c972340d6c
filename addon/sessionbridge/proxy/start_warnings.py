"""What whoever starts the proxy is told of how open it is."""

from __future__ import annotations

import logging
import sys

from mitmproxy import ctx
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

from sessionbridge.claude.cli.environment import secrets_on
from sessionbridge.proxy.options import HTTP, Options, modes
from sessionbridge.proxy.own_names import ALL_INTERFACES, LISTENING

logger = logging.getLogger(__name__)


class StartWarnings:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._remote = False

    def configure(self, updated: set[str]) -> None:
        """Whether other machines may use the bridge can change at any time."""
        remote = self._options.allow_remote
        if remote and not self._remote:
            logger.warning(
                "sessionbridge_allow_remote lets clients on other machines use this machine's "
                "Claude login; their tokens go over the network as they are, unless they reach the "
                "proxy by TLS."
            )
        self._remote = remote

    def running(self) -> None:
        if open_ones := [mode.full_spec for mode in modes() if _is_open(mode)]:
            logger.warning(
                "The proxy listens on all interfaces (%s); --listen-host 127.0.0.1 keeps it to "
                "this machine.",
                ", ".join(open_ones),
            )
        for mode in modes():
            if isinstance(mode, ReverseMode) and mode.scheme not in HTTP:
                self._warn_of_raw(mode)
        if names := [*secrets_on(sys.argv)]:
            logger.warning(
                "The value of %s is on the command line, where every user of this machine can read "
                "it. Give the name alone, --set sessionbridge_claude_env=NAME, and the value in "
                "the environment, or both in mitmproxy's config.yaml.",
                ", ".join(names),
            )

    def _warn_of_raw(self, mode: ReverseMode) -> None:
        if self._options.routes.bridged_by_name(*mode.address[:2]):
            logger.warning(
                "Nothing is bridged in mode %s, in which no HTTP is seen; use reverse:https://%s.",
                *(mode.full_spec, mode.address[0]),
            )


def _is_open(mode: ProxyMode) -> bool:
    """In the other modes the system alone leads clients here, or they have a key."""
    asked_directly = isinstance(mode, LISTENING)
    return asked_directly and mode.listen_host(ctx.options.listen_host) in ALL_INTERFACES
