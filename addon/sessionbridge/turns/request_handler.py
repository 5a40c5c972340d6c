"""What the handlers of the loopback server have in common: they tell nothing of the server, and log
no text."""

from __future__ import annotations

from types import TracebackType

from tornado import web

from sessionbridge.errors import presentable


class RequestHandler(web.RequestHandler):
    def set_default_headers(self) -> None:
        self.clear_header("Server")

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """By kind and place: tornado's own words would quote the exception's text."""
        if isinstance(value, Exception):
            presentable(value)
