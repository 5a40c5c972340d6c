"""When mitmproxy connects to the server of a client that has not asked for anything yet.

By itself it does so at once (`connection_strategy=eager`), in all modes but the regular one before
any hook could say no. A server that may be one whose requests are answered here is left alone until
the client has said what it wants. All others are connected to as ever: many speak first (mail, SSH,
databases), and their clients wait for that.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import modes

from sessionbridge.addresses import is_address
from sessionbridge.proxy.options import HTTP

_WEB = (80, 443)

_SILENCE = 1.0
"""Seconds after which a client waits for the server there: who wants something of a bridged host
says so at once."""


def is_unknown(host: str, port: int) -> bool:
    """Whether it may be any host of the web: a bare address, at a port where those are."""
    return is_address(host) and port in _WEB


def waiting(first: layer.Layer, may_be_ours: Callable[[str, int], bool]) -> layer.Layer:
    """In the place of the first layer of a connection, which has yet to start, one that waits.
    `may_be_ours` tells whether requests to a host and port may be answered here."""
    kind = _WAITING.get(type(first))
    if kind is None:
        return first
    first.context.layers.remove(first)
    return kind(first.context, may_be_ours)


class _Waiting(modes.DestinationKnown):
    def __init__(self, context: Context, may_be_ours: Callable[[str, int], bool]) -> None:
        super().__init__(context)
        self._may_be_ours = may_be_ours
        self._wakeup: commands.RequestWakeup | None = None

    def finish_start(self) -> layer.CommandGenerator[str | None]:
        assert self.context.server.address
        host, port = self.context.server.address[:2]
        unknown = is_unknown(host, port)
        if self.context.options.connection_strategy != "eager" or not (
            unknown or self._answered_here(host, port)
        ):
            return (yield from super().finish_start())
        # As mitmproxy's own layers do it: one more on the way of each byte costs.
        self._handle_event = self.child_layer.handle_event  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        if unknown:
            self._handle_event = self._until_woken  # type: ignore[method-assign]
            self._wakeup = commands.RequestWakeup(_SILENCE)
            yield self._wakeup
        return None

    def _answered_here(self, host: str, port: int) -> bool:
        """In reverse mode all that is HTTP may be."""
        mode = self.context.client.proxy_mode
        if isinstance(mode, mode_specs.ReverseMode):
            return mode.scheme in HTTP
        return self._may_be_ours(host, port)

    def _until_woken(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Wakeup) and event.command is self._wakeup:
            yield from self._speak_first()
            self._handle_event = self.child_layer.handle_event  # type: ignore[method-assign]
        else:
            yield from self.child_layer.handle_event(event)

    def _speak_first(self) -> layer.CommandGenerator[None]:
        """Unless the client has spoken by now, and the layer behind this one sees to it."""
        child, client, server = self.child_layer, self.context.client, self.context.server
        assert isinstance(child, layer.NextLayer)
        if child.layer or child.data_client() or client.state is not ConnectionState.OPEN:
            return
        yield commands.OpenConnection(server)
        # A client that has connected ahead may yet ask for what needs no server.
        server.error = None


class _Transparent(_Waiting, modes.TransparentProxy):
    pass


class _Reverse(_Waiting, modes.ReverseProxy):
    pass


class _Socks5(_Waiting, modes.Socks5Proxy):
    pass


_WAITING: dict[type[layer.Layer], type[_Waiting]] = {
    modes.TransparentProxy: _Transparent,
    modes.ReverseProxy: _Reverse,
    modes.Socks5Proxy: _Socks5,
}
