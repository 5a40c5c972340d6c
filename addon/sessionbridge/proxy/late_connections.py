"""When mitmproxy connects to the server of a client that has not asked for anything yet.

By itself it does so at once (`connection_strategy=eager`), in all modes but the regular one before
any hook could say no. A server that may be one whose requests are answered here is left alone until
the client has said what it wants. All others are connected to as ever: many speak first (mail, SSH,
databases), and their clients wait for that.
"""

from __future__ import annotations

from mitmproxy.proxy import events, layer, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import modes

from sessionbridge.proxy.options import HTTP
from sessionbridge.proxy.patient_layer import PatientLayer
from sessionbridge.proxy.served_hosts import ServedHosts


def waiting(first: layer.Layer, served: ServedHosts) -> layer.Layer:
    """In the place of the first layer of a connection, which has yet to start, one that waits."""
    kind = _WAITING.get(type(first))
    if kind is None:
        return first
    first.context.layers.remove(first)
    return kind(first.context, served)


class _Waiting(modes.DestinationKnown):
    def __init__(self, context: Context, served: ServedHosts) -> None:
        super().__init__(context)
        self._served = served

    def finish_start(self) -> layer.CommandGenerator[str | None]:
        assert self.context.server.address
        host, port = self.context.server.address[:2]
        if self.context.options.connection_strategy != "eager" or not self._may_be_at(host, port):
            return (yield from super().finish_start())
        if self._served.share(host, port):
            self.child_layer = PatientLayer(self.context)
        # As mitmproxy's own layers do it: one more on the way of each byte costs.
        self._handle_event = self.child_layer.handle_event  # type: ignore[method-assign]
        yield from self.child_layer.handle_event(events.Start())
        return None

    def _may_be_at(self, host: str, port: int) -> bool:
        """In reverse mode all that is HTTP may be."""
        mode = self.context.client.proxy_mode
        if isinstance(mode, mode_specs.ReverseMode):
            return mode.scheme in HTTP
        return self._served.may_be_at(host, port)


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
