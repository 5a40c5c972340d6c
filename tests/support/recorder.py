"""A second mitmproxy script for tests: writes down flows and where connections go."""

from __future__ import annotations

import json
import os

from mitmproxy import http
from mitmproxy.proxy.server_hooks import ServerConnectionHookData


class Recorder:
    def __init__(self) -> None:
        self._path = os.environ["RECORDER_FILE"]
        self._reachable = {"127.0.0.1", *os.environ.get("RECORDER_REACHABLE", "").split()}

    def server_connect(self, data: ServerConnectionHookData) -> None:
        host, *_ = data.server.address or ("",)
        self._write({"server_connect": host})
        if host not in self._reachable:
            data.server.error = "tests talk to loopback only"

    def response(self, flow: http.HTTPFlow) -> None:
        if flow.websocket is None:
            self._write_flow(flow)

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._write_flow(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        self._write_flow(flow)

    def _write_flow(self, flow: http.HTTPFlow) -> None:
        response = flow.response
        self._write(
            {
                "url": flow.request.pretty_url,
                "status": response.status_code if response else None,
                "headers": dict(flow.request.headers.items()),
                "comment": flow.comment,
                "marked": flow.marked,
                "metadata": flow.metadata.get("sessionbridge"),
                "body": response.get_text(strict=False) if response else None,
                "error": flow.error.msg if flow.error else None,
            }
        )

    def _write(self, line: object) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


addons = [Recorder()]
