"""The `sessionbridge_…` options as mitmproxy has them: registered, and read whenever they change.
`config` declares them and checks their values."""

from __future__ import annotations

# `collections.abc.Sequence` is the type mitmproxy compares with: `typing.Sequence` makes it drop
# the whole addon as soon as a value is given on the command line.
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.options import CONF_BASENAME
from mitmproxy.proxy import mode_specs

from sessionbridge import config
from sessionbridge.errors import BridgeError
from sessionbridge.proxy.routing import Routes
from sessionbridge.sessions.origins.table import Origins

HTTP = ("http", "https", "http3")
"""The schemes of reverse mode in which requests are seen."""

LED_HERE = (
    mode_specs.TransparentMode,
    mode_specs.LocalMode,
    mode_specs.TunMode,
    mode_specs.WireGuardMode,
)
"""The modes in which clients know of no proxy: the system leads their connections to it."""

LEADS_ALL_HERE = (mode_specs.TransparentMode, mode_specs.LocalMode, mode_specs.TunMode)
"""The modes in which what this machine itself sends may come here, the Claude CLI's calls too."""

_TYPES: dict[type, Any] = {
    str: str,
    bool: bool,
    int: int,
    list: Sequence[str],
    type(None): int | None,
}
"""mitmproxy's word for the type of an option, by that of its default."""


class Options:
    """What is in force. `settings` is None while the options are wrong; also then `routes` and
    `upstream` say whose requests are for us to refuse, and whether there is an API at all."""

    def __init__(self) -> None:
        self.settings: config.Settings | None = None
        self.routes = Routes(())
        self.origins = Origins.default()
        self.upstream = True
        self._problem = "the addon has not been configured"
        self._unreadable: str | None = None

    def load(self, loader: Loader) -> None:
        self._unreadable = add(loader)

    def configure(self, updated: set[str]) -> None:
        if not concern_us(updated):
            return
        try:
            self._read()
        except ValueError as error:
            self.refuse(error)

    def refuse(self, error: Exception) -> NoReturn:
        """A script whose options are wrong stays loaded: from now on it refuses to bridge."""
        self.settings, self._problem = None, str(error)
        raise exceptions.OptionsError(str(error)) from error

    def usable(self) -> config.Settings:
        """Raises `BridgeError` while the options are wrong."""
        if self.settings is None:
            raise BridgeError(f"sessionbridge is not configured: {self._problem}")
        return self.settings

    @property
    def allow_origins(self) -> Sequence[str]:
        return self.settings.allow_origins if self.settings else ()

    @property
    def allow_remote(self) -> bool:
        return self.settings is not None and self.settings.allow_remote

    @property
    def keep_flows(self) -> int | None:
        return self.settings.keep_flows if self.settings else None

    @property
    def watch(self) -> bool:
        return self.settings is not None and self.settings.watch

    def _read(self) -> None:
        # Known first, as the routes are: where there is no API, errors must not reach one either.
        self.upstream = ctx.options.sessionbridge_upstream
        targets = [mode for mode in modes() if isinstance(mode, mode_specs.ReverseMode)]
        reverse = [":".join(map(str, m.address[:2])) for m in targets if m.scheme in HTTP]
        # Known first: also while the options are wrong, these hosts' requests are for us to refuse.
        self.routes = Routes((), reverse, alone=not self.upstream)
        if self._unreadable:
            raise ValueError(self._unreadable)
        values = {option.name: getattr(ctx.options, option.name) for option in config.OPTIONS}
        settings = config.load(values)
        if any(isinstance(mode, LEADS_ALL_HERE) for mode in modes()):
            trusting = {"NODE_EXTRA_CA_CERTS": str(_ca()), **settings.claude_env}
            settings = settings.model_copy(update={"claude_env": trusting})
        self.routes = Routes(settings.endpoints, reverse, alone=not self.upstream)
        self.origins = Origins.default(settings.origins)
        self.settings = settings


def concern_us(updated: set[str]) -> bool:
    return any(name.startswith(config.PREFIX) or name == "mode" for name in updated)


def modes() -> list[mode_specs.ProxyMode]:
    """How the proxy is reached."""
    return [mode_specs.ProxyMode.parse(mode) for mode in ctx.options.mode]


def _ca() -> Path:
    return Path(ctx.options.confdir).expanduser().absolute() / f"{CONF_BASENAME}-ca-cert.pem"


def add(loader: Loader) -> str | None:
    """Adds them all; returns what is wrong with a value that was given for one.

    mitmproxy would read those values only after `load`, and drop the addon without a word when one
    cannot be read (`--set sessionbridge_retries=x`): everything would pass on to the real API.
    """
    for option in config.OPTIONS:
        kind = _TYPES[type(option.default)]
        loader.add_option(option.name, kind, option.default, option.help, option.choices)
    try:
        ctx.options.process_deferred()
    except exceptions.OptionsError as error:
        for name in [name for name in ctx.options.deferred if name.startswith(config.PREFIX)]:
            del ctx.options.deferred[name]
        return str(error)
    return None
