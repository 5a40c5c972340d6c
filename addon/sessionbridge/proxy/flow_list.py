"""Keeps the list of flows in mitmweb and mitmproxy as short as the user wants it: both keep every
flow for good."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from mitmproxy import http


class View(Protocol):
    """mitmproxy's own addon of that name; mitmdump has none, and keeps nothing."""

    def remove(self, flows: list[http.HTTPFlow]) -> None: ...


class FlowList:
    def __init__(self) -> None:
        self._bridged: deque[http.HTTPFlow] = deque()
        self._pages: deque[http.HTTPFlow] = deque()

    def bridged(self, flow: http.HTTPFlow, view: View | None, keep: int | None) -> None:
        """A bridged flow has ended; of them all the newest `keep` stay, or all for None."""
        if view is not None and keep is not None:
            self._bridged.append(flow)
            _shorten(self._bridged, view, keep)

    def page(self, flow: http.HTTPFlow, view: View | None) -> None:
        """The dashboard asks every few seconds, and would fill the list: its last one stays."""
        if view is not None:
            self._pages.append(flow)
            _shorten(self._pages, view, 1)


def _shorten(flows: deque[http.HTTPFlow], view: View, keep: int) -> None:
    """One that is still on its way to the client would be cut off, and is left for the next time.
    They are removed one by one, because for several at once mitmproxy writes into its log."""
    for flow in list(flows)[: max(0, len(flows) - keep)]:
        if not flow.live:
            flows.remove(flow)
            view.remove([flow])
