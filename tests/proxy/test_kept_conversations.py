"""Which requests about conversations are answered here, and which pass on to the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mitmproxy.http import HTTPFlow

from tests.support.addon_fixtures import KEYED, Proxy, is_bridged, proxy, refusal
from tests.support.object_requests import passes, sent

__all__ = ["proxy"]

OURS = "conv_sb" + 32 * "a"
OF_OPENAI = "conv_" + 50 * "a"


def asked(path: str, method: str = "POST", headers: Any = None, **fields: Any) -> HTTPFlow:
    return sent(path, method, headers, fields)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("rest", ["", "/items", "/items/msg_1"])
async def test_an_id_tells_where_it_was_made(proxy: Proxy, method: str, rest: str) -> None:
    theirs = await proxy.request(asked(f"/v1/conversations/{OF_OPENAI}{rest}", method))
    assert passes(theirs)
    ours = asked(f"/v1/conversations/{OURS}{rest}", method, items=[], metadata={})
    status, error = refusal(await proxy.request(ours))
    assert status == 404
    known = f"Conversation with id '{OURS}' not found.", "There is no"
    assert error["error"]["message"].startswith(known)


@pytest.mark.parametrize(
    ("unkeyed", "headers", "here"),
    [
        ("passthrough", {}, False),
        ("passthrough", KEYED, True),
        ("stateless", {}, True),
        ("fingerprint", {}, True),
    ],
)
async def test_where_one_is_created(
    proxy: Proxy, unkeyed: str, headers: dict[str, str], here: bool
) -> None:
    proxy.set(sessionbridge_unkeyed=unkeyed)
    flow = await proxy.request(asked("/v1/conversations", headers=headers, metadata={"a": "b"}))
    if here:
        assert flow.response is not None
        told = json.loads(flow.response.content or b"")
        assert (flow.response.status_code, told["metadata"]) == (200, {"a": "b"})
    else:
        assert passes(flow)


async def test_no_api_is_behind_the_proxy(proxy: Proxy) -> None:
    proxy.set(sessionbridge_upstream=False)
    for id_ in (OURS, OF_OPENAI, "my-chat"):
        status, _ = refusal(await proxy.request(asked(f"/v1/conversations/{id_}", "GET")))
        assert status == 404
    status, error = refusal(await proxy.request(asked("/v1/conversations", "GET")))
    assert (status, error["error"]["message"][:16]) == (404, "There is no GET ")


@pytest.mark.parametrize("upstream", [True, False])
@pytest.mark.parametrize("form", [str, dict])
async def test_a_turn_in_a_conversation_of_the_api_passes(
    proxy: Proxy, upstream: bool, form: type
) -> None:
    proxy.set(sessionbridge_upstream=upstream)
    for id_, passed in ((OF_OPENAI, upstream), (OURS, False), ("conv_1", False)):
        named = id_ if form is str else {"id": id_}
        flow = await proxy.request(asked("/v1/responses", model="x", input="y", conversation=named))
        assert passes(flow) if passed else is_bridged(flow)


async def test_a_body_that_cannot_be_read(proxy: Proxy) -> None:
    flow = asked("/v1/conversations", headers=KEYED)
    flow.request.content = b"{"
    assert refusal(await proxy.request(flow))[0] == 400
    flow = asked("/v1/conversations", headers={**KEYED, "content-encoding": "gzip"})
    flow.request.raw_content = b"no gzip"
    status, error = refusal(await proxy.request(flow))
    assert (status, "cannot be decoded" in error["error"]["message"]) == (400, True)


async def test_the_map_is_off(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONBRIDGE_MAPPER", "0")
    proxy.set(sessionbridge_timeout=7)
    status, error = refusal(await proxy.request(asked(f"/v1/conversations/{OURS}", "GET")))
    assert (status, "switched off" in error["error"]["message"]) == (503, True)
