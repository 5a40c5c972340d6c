"""The last word on whether what a client says is HTTP, where it may be for us.

mitmproxy passes on as bare TCP what does not begin with a method, a space and a path in the first
bytes it sees. But a request may come in pieces, or behind an empty line, which a server is to
overlook (RFC 9112, 2.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mitmproxy import ctx
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers import TCPLayer
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode

from sessionbridge.proxy.late_connections import is_unknown

_LINE = re.compile(rb"[A-Za-z]+ [^\n]+ HTTP/")
_BEGUN = re.compile(rb"[A-Za-z]*( [^\n]*)?")
"""What may become one."""


class LateHttp:
    """Behind mitmproxy's own choice."""

    def __init__(self, may_be_ours: Callable[[str, int], bool]) -> None:
        self._may_be_ours = may_be_ours

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        if not isinstance(nextlayer.layer, TCPLayer) or nextlayer.data_server() or _is_chosen():
            return
        context = nextlayer.context
        host, port = (context.server.address or ("", 0))[:2]
        sni = context.client.sni or ""
        named = any(self._may_be_ours(name, port) for name in (host, sni))
        if not named and not is_unknown(host, port):
            return
        said = nextlayer.data_client().lstrip(b"\r\n")
        if _BEGUN.fullmatch(said):
            context.layers.remove(nextlayer.layer)
            nextlayer.layer = None  # it is asked again when there is more
        elif named or _LINE.match(said):
            context.layers.remove(nextlayer.layer)
            _begin_with_the_request(nextlayer)
            nextlayer.layer = HttpLayer(context, HTTPMode.transparent)


def _is_chosen() -> bool:
    """By the operator, for some hosts."""
    return bool(ctx.options.ignore_hosts or ctx.options.allow_hosts or ctx.options.tcp_hosts)


def _begin_with_the_request(nextlayer: layer.NextLayer) -> None:
    for event in nextlayer.events:
        if isinstance(event, events.DataReceived):
            event.data = event.data.lstrip(b"\r\n")
            if event.data:
                return
