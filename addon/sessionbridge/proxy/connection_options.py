"""mitmproxy's options, as one client connection is to have them."""

from __future__ import annotations

from typing import Any

from mitmproxy.options import Options


class ConnectionOptions:
    """As they are, but for what a subclass says otherwise. In the place of `context.options`."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def __getattr__(self, name: str) -> Any:
        return getattr(self.options, name)
