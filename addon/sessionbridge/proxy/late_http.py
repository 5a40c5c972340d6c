"""The last word on whether what a client says is HTTP, where it may be for us.

mitmproxy passes on as bare TCP what does not begin with a method, a space and a path in the first
bytes it sees. But a request may come in pieces, or behind an empty line, which a server is to
overlook (RFC 9112, 2.2); and so may the first bytes of TLS.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mitmproxy import ctx
from mitmproxy.proxy import events, layer
from mitmproxy.proxy.layers import TCPLayer
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode

from sessionbridge.proxy import patient_layer
from sessionbridge.proxy.patient_layer import PatientLayer, WaitedEnough
from sessionbridge.proxy.served_hosts import ServedHosts

_LINE = re.compile(rb"[A-Za-z]+ [^\n]+ HTTP/")
_BEGUN = re.compile(rb"[A-Za-z]*( [^\n]*)?")
"""What may become one."""

_TLS = (b"\x16", b"\x16\x03")
"""What may become a ClientHello (RFC 8446, 5.1); mitmproxy knows one by three bytes."""

_METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ")


class LateHttp:
    """Behind mitmproxy's own choice."""

    def __init__(self, served: ServedHosts) -> None:
        self._served = served

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        if not isinstance(nextlayer.layer, TCPLayer) or nextlayer.data_server():
            return
        context = nextlayer.context
        host, port = (context.server.address or ("", 0))[:2]
        names = [name for name in (host, context.client.sni) if name]
        if any(self._served.are_at(n, port) and not self._served.share(n, port) for n in names):
            _choose_for_us(nextlayer)
        elif any(self._served.share(name, port) for name in names):
            _choose(nextlayer)


def _choose_for_us(nextlayer: layer.NextLayer) -> None:
    """Where all is for us, unless the operator has chosen otherwise for this host."""
    said, any_request = nextlayer.data_client(), b"POST / HTTP/1.1\r\n\r\n"
    chosen = _choice(nextlayer, [events.DataReceived(nextlayer.context.client, any_request)])
    if not isinstance(chosen, HttpLayer):
        return
    if said in _TLS or _BEGUN.fullmatch(said.lstrip(b"\r\n")):
        _set(nextlayer, None)
    else:
        _set(nextlayer, HttpLayer(nextlayer.context, HTTPMode.transparent))
        nextlayer.events = _without_empty_lines(nextlayer.events)


def _choose(nextlayer: layer.NextLayer) -> None:
    """Where others are served as well."""
    has_waited = isinstance(nextlayer.events[-1], WaitedEnough)
    if has_waited:
        nextlayer.events.pop()
    data = nextlayer.data_client()
    said = data.lstrip(b"\r\n")
    if data in _TLS or _is_of_a_request(said):
        if said or not has_waited:
            _wait(nextlayer)
    elif said != data and _LINE.match(said):
        # The head of the request may tell what the operator has chosen for its host.
        begun = _without_empty_lines(nextlayer.events)
        chosen = _choice(nextlayer, begun)
        if chosen is None:
            _wait(nextlayer)
        elif isinstance(chosen, HttpLayer):
            _set(nextlayer, HttpLayer(nextlayer.context, HTTPMode.transparent))
            nextlayer.events = begun


def _is_of_a_request(said: bytes) -> bool:
    """Whether it may become the first line of one."""
    begun = (said[: len(method)].upper() == method[: len(said)] for method in _METHODS)
    return b"\n" not in said and any(begun)


def _wait(nextlayer: layer.NextLayer) -> None:
    waits = isinstance(nextlayer, patient_layer.NextLayer)
    _set(nextlayer, None if waits else PatientLayer(nextlayer.context))


def _set(nextlayer: layer.NextLayer, chosen: layer.Layer | None) -> None:
    """With None it is asked again when there is more."""
    assert nextlayer.layer is not None
    nextlayer.context.layers.remove(nextlayer.layer)
    nextlayer.layer = chosen


def _choice(nextlayer: layer.NextLayer, said: list[events.Event]) -> layer.Layer | None:
    """What mitmproxy would choose if this had been said; None where it would wait for more."""
    trial = layer.NextLayer(nextlayer.context)
    trial.events = said
    ctx.master.addons.get("nextlayer").next_layer(trial)
    if trial.layer is not None:
        nextlayer.context.layers.remove(trial.layer)
    return trial.layer


def _without_empty_lines(said: Sequence[events.Event]) -> list[events.Event]:
    """Before the request. The events stay as they are: they may yet have to pass on."""
    kept = list(said)
    for at, event in enumerate(kept):
        if isinstance(event, events.DataReceived):
            data = event.data.lstrip(b"\r\n")
            kept[at] = events.DataReceived(event.connection, data)
            if data:
                break
    return kept
