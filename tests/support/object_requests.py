"""Requests to OpenAI for what an API keeps, as the addon sees them."""

from __future__ import annotations

import json
from typing import Any

from mitmproxy.http import HTTPFlow

from tests.support.addon_fixtures import is_bridged, make_flow


def sent(path: str, method: str, headers: Any, fields: Any) -> HTTPFlow:
    """`fields` are those of the body, which a POST alone has."""
    body = json.dumps(fields).encode() if method == "POST" else b""
    flow = make_flow(
        headers, body, host="api.openai.com", path=path.encode(), method=method.encode()
    )
    flow.request.headers["host"] = "api.openai.com"
    return flow


def passes(flow: HTTPFlow) -> bool:
    return flow.response is None and not is_bridged(flow)
