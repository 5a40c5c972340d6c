"""Flows, and what the content view shows of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import pytest
from mitmproxy import contentviews
from mitmproxy.http import HTTPFlow, Request, Response
from mitmproxy.test import taddons, tflow, tutils

from sessionbridge.model import Message
from sessionbridge.proxy.content_view import SessionBridgeView

PATHS = {
    "messages": b"/v1/messages",
    "chat": b"/v1/chat/completions",
    "responses": b"/v1/responses",
    "ollama": b"/api/chat",
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """mitmproxy's own views, and ours twice, as after the script was loaded again."""
    before = dict(contentviews.registry._by_name)
    contentviews.add(SessionBridgeView())
    contentviews.add(SessionBridgeView())
    with taddons.context():
        yield
    contentviews.registry._by_name.clear()
    contentviews.registry._by_name.update(before)


def flow_of(api: str, asked: bytes, answer: bytes | None = None, status: int = 200) -> HTTPFlow:
    """A flow as it passes, of times that are told apart."""
    headers = ((b"content-type", b"application/json"),)
    request = tutils.treq(method=b"POST", path=PATHS[api], content=asked, headers=headers)
    flow = tflow.tflow(req=request)
    request.timestamp_end = 100.0
    if answer is not None:
        flow.response = tutils.tresp(status_code=status, content=answer, headers=())
        flow.response.timestamp_start, flow.response.timestamp_end = 100.4, 102.5
    return flow


def messages_body(messages: Sequence[Message]) -> bytes:
    told = [{"role": m.role, "content": list(m.blocks)} for m in messages]
    return json.dumps({"model": "m", "max_tokens": 9, "messages": told}).encode()


def request_text(flow: HTTPFlow) -> str:
    return _text(flow, flow.request)


def answer_text(flow: HTTPFlow) -> str:
    assert flow.response is not None
    return _text(flow, flow.response)


def _text(flow: HTTPFlow, message: Request | Response) -> str:
    shown = contentviews.prettify_message(message, flow)
    assert (shown.view_name, shown.description) == ("Session bridge", "")
    return shown.text


def row(page: str, label: str) -> str | None:
    rows = dict(re.findall(r"^(\w[\w ]{0,9}?) {2,}(.+)$", page.partition("\n\n")[0], re.MULTILINE))
    return rows.get(label)


def sections(page: str) -> dict[str, str]:
    """What stands under each heading; headings that come again are one."""
    parts = re.split(r"^-- (.+?) -+$", page, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for title, under in zip(parts[1::2], parts[2::2], strict=True):
        found[title] = "\n\n".join(filter(None, (found.get(title), under.strip())))
    return found
