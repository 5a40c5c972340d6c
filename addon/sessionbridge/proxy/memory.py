"""Gives back what a large body has taken: mitmproxy's flows and tornado's requests refer to
themselves, so they stay, with their bodies, until Python looks for such circles. It counts objects,
of which a body is one, and may not look for hours.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from ctypes import CDLL

from mitmproxy import http

from sessionbridge.turns.worker import LARGE

_SOON = 0.5
"""Seconds after a flow has ended, when nothing holds it any more."""


class Memory:
    name = "sessionbridge.memory"

    def __init__(self) -> None:
        self._due = False

    def running(self) -> None:
        """What is there now stays. Left out of each look, that takes a tenth of the time."""
        gc.collect()
        gc.freeze()

    def ended(self, flow: http.HTTPFlow) -> None:
        if not self._due and len(flow.request.raw_content or b"") > LARGE:
            self._due = True
            asyncio.get_running_loop().call_later(_SOON, self._collect)

    def _collect(self) -> None:
        self._due = False
        gc.collect()
        if sys.platform == "linux" and (trim := getattr(CDLL(None), "malloc_trim", None)):
            trim(0)  # glibc keeps what it once was given, up to 32 MB in one piece
