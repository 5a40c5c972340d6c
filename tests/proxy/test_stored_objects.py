"""Which requests about responses are answered here, and which pass on to the API."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy.http import HTTPFlow

from sessionbridge.apis.common.summary import seal
from sessionbridge.errors import ProviderGone
from sessionbridge.proxy.direct_responses import refuse
from tests.support.addon_fixtures import Proxy, is_bridged, make_flow, proxy, refusal
from tests.support.object_requests import passes, sent

__all__ = ["proxy"]

OURS = "resp_sb" + 32 * "a"
OF_OPENAI = "resp_" + 48 * "0"
KEY = b"A" * 43 + b"="
PAGE = "http://localhost:5173"


def asked(path: str, method: str = "GET", headers: Any = None, **fields: Any) -> HTTPFlow:
    return sent(path, method, headers, fields)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "address", ["/v1/responses/{}", "/V1/RESPONSES/{}", "/v1/responses/{}/input_items/x"]
)
async def test_an_id_tells_where_it_was_made(proxy: Proxy, method: str, address: str) -> None:
    assert passes(await proxy.request(asked(address.format(OF_OPENAI), method)))
    status, error = refusal(await proxy.request(asked(address.format(OURS), method)))
    known = f"Response with id '{OURS}' not found.", f"There is no {method} at this address"
    assert status == 404 and error["error"]["message"].startswith(known)


@pytest.mark.parametrize("made_here", [True, False])
@pytest.mark.parametrize("kind", ["compaction", "item_reference", None])
async def test_a_turn_that_brings_what_was_given_here(
    proxy: Proxy, kind: str, made_here: bool
) -> None:
    item = {
        "compaction": {"encrypted_content": seal("x", KEY) if made_here else "gAAAAA"},
        "item_reference": {"id": "msg_sb1_0" if made_here else "msg_1"},
        None: {"id": "msg_sb1_0" if made_here else "msg_1"},
    }[kind]
    said = [{"type": kind, **item}, {"role": "user", "content": "And?"}]
    flow = await proxy.request(asked("/v1/responses", "POST", model="claude-x", input=said))
    assert is_bridged(flow) if made_here else passes(flow)


@pytest.mark.parametrize(
    ("path", "here"),
    [
        (f"/v1/responses/{OURS}", True),
        (f"/v1/responses/{OURS}/cancel", True),
        ("/v1/responses/compact", True),
        ("/v1/responses/COMPACT", True),
        ("/v1/conversations", True),
        ("/v1/conversations/conv_sb1/items", True),
        (f"/v1/responses/{OF_OPENAI}", False),
        ("/v1/conversations/conv_1", False),
        ("/v1/responses/input_tokens", False),
    ],
)
async def test_a_page_may_send_where_something_is_answered(
    proxy: Proxy, path: str, here: bool
) -> None:
    wants = {"origin": PAGE, "access-control-request-method": "DELETE"}
    flow = await proxy.request(asked(path, "OPTIONS", wants))
    assert passes(flow) is not here
    if here:
        assert flow.response is not None and flow.response.status_code == 204
        assert "DELETE" in flow.response.headers["access-control-allow-methods"]
    assert passes(await proxy.request(asked(path, "OPTIONS")))


def test_what_is_refused_for_good_says_so_to_libraries() -> None:
    flow = make_flow({})
    refuse(flow, "responses", ProviderGone("key"))
    assert flow.response is not None and flow.response.status_code == 409
    assert flow.response.headers["x-should-retry"] == "false"
