"""Answers that the addon gives itself, without the loopback server: short ones, and refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mitmproxy import http

from sessionbridge.apis import SHAPES
from sessionbridge.errors import BridgeError, presentable
from sessionbridge.proxy import cors
from sessionbridge.proxy.own_names import own_names


def answer(
    flow: http.HTTPFlow, status: int, body: bytes, further: Mapping[str, str] | None = None
) -> None:
    # A response cannot be given to a request whose body is to be streamed on.
    flow.request.stream = False
    headers = {"content-type": "application/json", **(further or {})}
    flow.response = http.Response.make(status, body, headers)


def refuse(flow: http.HTTPFlow, api: str, error: Exception) -> BridgeError:
    """In the words of the API that is spoken. Returns the error as the client was told it."""
    failure, shape = presentable(error), SHAPES[api]
    status = shape.status(failure)
    further = dict(failure.headers)
    if failure.retry_after is not None:
        further["retry-after"] = str(failure.retry_after)
    answer(flow, status, shape.error_body(failure), further)
    flow.comment = f"refused · {status} {type(failure).__name__}"
    return failure


def share(flow: http.HTTPFlow, allow_origins: Sequence[str]) -> None:
    """Lets a page that may use the bridge read the answer."""
    headers = flow.request.headers
    if flow.response and not cors.refuses(headers, allow_origins, own_names(flow)):
        flow.response.headers.update(cors.answer_headers(headers))
