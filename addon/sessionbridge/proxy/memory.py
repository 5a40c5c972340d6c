"""Gives back what a large body has taken, or a CLI that said too much: mitmproxy's flows, tornado's
requests and errors with their frames refer to themselves, so they stay, with all their bytes, until
Python looks for such circles. It counts objects, of which a body is one, and may not look for
hours.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from ctypes import CDLL

from mitmproxy import http

from sessionbridge.errors import BridgeError, ClaudeFailed

_LARGE = 250_000
"""Bytes."""

_SOON = 0.5
"""Seconds after a flow has ended, when nothing holds it any more."""


class Memory:
    def __init__(self) -> None:
        self._due = False

    def running(self) -> None:
        """What is there now stays. Left out of each look, that takes a tenth of the time."""
        gc.collect()
        gc.freeze()

    def ended(self, flow: http.HTTPFlow, failure: BridgeError | None) -> None:
        large = len(flow.request.raw_content or b"") > _LARGE or isinstance(failure, ClaudeFailed)
        if large and not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_SOON, self._collect)

    def _collect(self) -> None:
        self._due = False
        gc.collect()
        if sys.platform == "linux" and (trim := getattr(CDLL(None), "malloc_trim", None)):
            trim(0)  # glibc keeps what it once was given, up to 32 MB in one piece
