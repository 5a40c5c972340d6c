"""Has mitmproxy wait for the whole body of a request that may be answered here.

Under `stream_large_bodies` it would send the head of a large one on to the server as soon as that
is there, and its body as it comes: whose conversation it is may stand in the body alone.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from mitmproxy import connection, ctx, http
from mitmproxy.exceptions import OptionsError
from mitmproxy.proxy import layer

from sessionbridge.proxy.connection_options import ConnectionOptions


class WholeBodies:
    def __init__(self) -> None:
        self._of: WeakKeyDictionary[connection.Client, _Options] = WeakKeyDictionary()
        self._runs = False
        self._held: dict[str, _Options] = {}
        """By the flow whose body is waited for."""

    def configure(self, updated: set[str]) -> None:
        if self._runs and "stream_large_bodies" in updated and ctx.options.stream_large_bodies:
            raise OptionsError(
                "stream_large_bodies is to be set when the proxy is started: on connections that "
                "are open it would lead requests past the bridge."
            )

    def running(self) -> None:
        self._runs = True

    def hold(self, flow: http.HTTPFlow) -> None:
        """To be called when the headers are there. A body that begins with the next request of the
        same connection, as in HTTP/2, is waited for too."""
        if (options := self._of.get(flow.client_conn)) is not None:
            flow.request.stream = False
            options.held += 1
            self._held[flow.id] = options

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        context = nextlayer.context
        if ctx.options.stream_large_bodies and context.client not in self._of:
            self._of[context.client] = options = _Options(context.options)
            options.put_into(context)

    def request(self, flow: http.HTTPFlow) -> None:
        self._let_go(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._let_go(flow)

    def _let_go(self, flow: http.HTTPFlow) -> None:
        if (options := self._held.pop(flow.id, None)) is not None:
            options.held -= 1


class _Options(ConnectionOptions):
    """While a body is held, none is streamed."""

    held = 0

    @property
    def stream_large_bodies(self) -> str | None:
        return None if self.held else self.options.stream_large_bodies
