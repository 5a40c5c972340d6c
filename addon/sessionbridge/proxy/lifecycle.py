"""The loopback server and what stands behind it, from the addon's loading to its end."""

from __future__ import annotations

from mitmproxy.addonmanager import Loader

from sessionbridge.errors import StoreUnavailable
from sessionbridge.proxy.options import Options, concern_us
from sessionbridge.telemetry.telemetry import Telemetry
from sessionbridge.turns.loopback import Loopback
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.shutdown import Shutdown


class Lifecycle:
    def __init__(
        self,
        options: Options,
        runtime: Runtime,
        loopback: Loopback,
        shutdown: Shutdown,
        telemetry: Telemetry,
    ) -> None:
        self._options = options
        self._runtime = runtime
        self._loopback = loopback
        self._shutdown = shutdown
        self._telemetry = telemetry

    def load(self, loader: Loader) -> None:
        # The proxy accepts connections before `running` is called.
        self._loopback.listen()

    def configure(self, updated: set[str]) -> None:
        if concern_us(updated):
            settings = self._options.usable()
            try:
                self._loopback.walk = self._runtime.walk(settings)
            except StoreUnavailable as error:  # the address of a database, or what it needs
                self._options.refuse(error)

    def running(self) -> None:
        self._shutdown.listen()
        self._telemetry.start()
        self._runtime.start()

    def done(self) -> None:
        self._runtime.close()
        self._telemetry.close()
