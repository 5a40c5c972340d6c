"""mitmproxy's options, as one client connection is to have them."""

from __future__ import annotations

from typing import Any

from mitmproxy.options import Options
from mitmproxy.proxy.context import Context


class ConnectionOptions:
    """As they are, but for what a subclass says otherwise."""

    def __init__(self, options: Options) -> None:
        self.options = options

    def put_into(self, context: Context) -> None:
        """All that is asked on this connection from now on has them."""
        context.options = self  # type: ignore[assignment]  # it is read as if it were mitmproxy's

    def __getattr__(self, name: str) -> Any:
        return getattr(self.options, name)
