"""Turns as OpenTelemetry tells them, where the standard variables ask for that. Nothing of
OpenTelemetry's SDK is imported without."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from sessionbridge.telemetry import variables
from sessionbridge.turns.exchange import Exchange

if TYPE_CHECKING:
    from sessionbridge.telemetry.recorder import Recorder

logger = logging.getLogger(__name__)


class Telemetry:
    def __init__(self) -> None:
        self._recorder: Recorder | None = None

    def start(self) -> None:
        """As the environment says now. What is wrong there is logged: turns do not need this."""
        wanted = variables.exporters(os.environ)
        if not wanted:
            return
        try:
            from sessionbridge.telemetry.recorder import Recorder

            self._recorder = Recorder(wanted, content=variables.content(os.environ))
        except ImportError as error:
            logger.warning(
                "OTEL_… variables ask for telemetry, and %s is not installed; pip install "
                "'mitmproxy-sessionbridge[otel]', or unset them.",
                error.name,
            )
        except variables.NoExporter as error:
            logger.warning("%s", error)
        except Exception as error:
            logger.warning(
                "Telemetry could not be started (%s); see the OTEL_… variables.",
                type(error).__name__,
            )

    def ended(self, exchange: Exchange) -> None:
        """To be told of every turn, with what became of it."""
        if self._recorder is not None:
            self._recorder.record(exchange)

    def close(self) -> None:
        """Exports what is left, for a few seconds at most."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None
