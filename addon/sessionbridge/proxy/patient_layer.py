"""Which layer comes next where a client may be for us, and may as well want some other server, of
any protocol: nobody there is made to wait for ever.

Who wants something of us says so at once. After a second of silence the server is connected to, for
it may be the one that speaks first; and what a client has said by then goes to it, where that is no
beginning of a request.
"""

from __future__ import annotations

from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.utils import expect

_SILENCE = 1.0
"""Seconds."""


class WaitedEnough(events.DataReceived):
    """Nothing more, but the layer is to be chosen by what there is."""


class NextLayer(layer.NextLayer):
    """The one whose choice is waited for no longer than that."""

    def has_data(self) -> bool:
        return any(
            isinstance(event, events.DataReceived) and event.connection is self.context.client
            for event in self.events
        )


class PatientLayer(layer.Layer):
    child_layer: NextLayer

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        context.layers.remove(self)  # as what is to be chosen is not one of them yet
        self.child_layer = NextLayer(context)
        self._wakeup = commands.RequestWakeup(_SILENCE)
        self._is_woken = False
        self._is_over = False

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._is_over:  # as nearly always
            handled: layer.CommandGenerator[None] = self.child_layer.handle_event(event)
            return handled
        return super().handle_event(event)

    @expect(events.Start)  # type: ignore[untyped-decorator]  # mitmproxy's
    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        self._handle_event = self._until_chosen
        yield from self.child_layer.handle_event(event)
        yield self._wakeup

    def _until_chosen(self, event: events.Event) -> layer.CommandGenerator[None]:
        child, client = self.child_layer, self.context.client
        if isinstance(event, events.Wakeup) and event.command is self._wakeup:
            self._is_woken = True
            yield from self._no_longer()
        else:
            if isinstance(event, events.ConnectionClosed) and event.connection is client:
                yield from self._choose()
            yield from child.handle_event(event)
        self._is_over = self._is_woken and child.layer is not None

    def _no_longer(self) -> layer.CommandGenerator[None]:
        child, client, server = self.child_layer, self.context.client, self.context.server
        if child.layer is not None:
            return
        if child.has_data():
            yield from self._choose()
        elif client.state is ConnectionState.OPEN and not server.connected:
            yield commands.OpenConnection(server)
            # A client that has connected ahead may yet ask for what needs no server.
            server.error = None

    def _choose(self) -> layer.CommandGenerator[None]:
        child = self.child_layer
        if child.layer is None and child.has_data():
            yield from child.handle_event(WaitedEnough(self.context.client, b""))
