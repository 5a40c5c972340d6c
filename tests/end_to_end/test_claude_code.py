"""Claude Code remembers by itself: its requests pass on, unless an option says otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.addon_fixtures import HELLO, KEYED, Proxy, is_bridged, make_flow, proxy

__all__ = ["proxy"]

SESSION = "0b5a1c1e-6a0f-4b53-9a5e-1d3f0e6f7a11"
BY_METADATA = json.loads(HELLO) | {
    "metadata": {"user_id": json.dumps({"device_id": "d", "session_id": SESSION})}
}
ITS: dict[str, tuple[dict[str, str], Any]] = {
    "by its header": ({"x-claude-code-session-id": SESSION}, HELLO),
    "by its name": ({"user-agent": "claude-cli/2.1.330 (external, cli)"}, HELLO),
    "by its metadata": ({}, json.dumps(BY_METADATA).encode()),
}


@pytest.mark.parametrize("headers, body", ITS.values(), ids=ITS)
@pytest.mark.parametrize("unkeyed", ["passthrough", "stateless", "fingerprint"])
async def test_it_passes(proxy: Proxy, headers: dict[str, str], body: bytes, unkeyed: str) -> None:
    proxy.set(sessionbridge_unkeyed=unkeyed)
    flow = make_flow(headers, body)
    before = flow.get_state()
    assert (await proxy.request(flow)).get_state() == before


@pytest.mark.parametrize("headers, body", ITS.values(), ids=ITS)
@pytest.mark.parametrize(
    "options",
    [
        {"sessionbridge_claude_code": True, "sessionbridge_unkeyed": "stateless"},
        {"sessionbridge_upstream": False},
    ],
)
async def test_it_is_bridged_where_that_is_wanted(
    proxy: Proxy, headers: dict[str, str], body: bytes, options: dict[str, Any]
) -> None:
    proxy.set(**options)
    assert is_bridged(await proxy.request(make_flow(headers, body)))


async def test_our_own_header_says_that_it_is(proxy: Proxy) -> None:
    headers = {**KEYED, "x-claude-code-session-id": SESSION, "user-agent": "claude-cli/2.1"}
    assert is_bridged(await proxy.request(make_flow(headers)))
