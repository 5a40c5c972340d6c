"""Which flows go to the gateway, what they look like there and back, and which are left alone."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import connection
from mitmproxy.flow import Error
from mitmproxy.http import HTTPFlow, Response
from mitmproxy.net.http.http1 import assemble_request
from mitmproxy.net.server_spec import parse as server_spec

from sessionbridge.claude.cli.child_mark import CHILD_HEADER, child_secret
from sessionbridge.model import Origin, SessionKey
from sessionbridge.proxy.routing import OWN_HEADER
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.turns.loopback import TICKET_HEADER
from tests.support.addon_fixtures import HELLO, KEYED, Proxy, is_bridged, make_flow, proxy, refusal
from tests.support.bridge_fixtures import bridge
from tests.support.known_clients import add_client
from tests.support.scripted_dispatcher import ScriptedDispatcher

__all__ = ["proxy"]


def without_own_headers(flow: HTTPFlow) -> dict[str, Any]:
    """The state of the flow, as it passes on: `test_own_headers` tells which these are."""
    state: dict[str, Any] = flow.get_state()
    own = {OWN_HEADER.encode(), TICKET_HEADER.encode()}
    kept = [field for field in state["request"]["headers"] if field[0] not in own]
    state["request"]["headers"] = tuple(kept)
    return state


async def untouched(proxy: Proxy, flow: HTTPFlow) -> bool:
    before = without_own_headers(flow)
    await proxy.request(flow)
    return bool(before == flow.get_state())


async def passes_as_our_own(proxy: Proxy, flow: HTTPFlow) -> bool:
    """Untouched, but for what a person is told of it."""
    before = without_own_headers(flow)
    await proxy.request(flow)
    told = flow.comment
    flow.comment, flow.metadata = "", {}
    return told == "the bridge's own Claude CLI" and bool(before == flow.get_state())


async def through_the_gateway(flow: HTTPFlow) -> bytes:
    """What mitmproxy does between the hooks: the request as it is, to where it says."""
    reader, writer = await asyncio.open_connection(flow.request.data.host, flow.request.data.port)
    flow.request.headers["connection"] = "close"
    writer.write(assemble_request(flow.request))
    answer = await reader.read()
    writer.close()
    return answer


def scripted(proxy: Proxy) -> ScriptedDispatcher:
    dispatcher = ScriptedDispatcher()
    proxy.gateway.walk = bridge(proxy.settings, proxy.addon.runtime.store, dispatcher)
    return dispatcher


async def test_there_and_back(proxy: Proxy) -> None:
    scripted(proxy)
    flow = await proxy.request(make_flow(KEYED))
    assert is_bridged(flow)
    assert flow.request.headers["host"] == "api.anthropic.com"
    answer = await through_the_gateway(flow)
    assert answer.startswith(b"HTTP/1.1 200") and b'"1: hi"' in answer
    flow.response = Response.make(200, answer.partition(b"\r\n\r\n")[2])
    proxy.responseheaders(flow)
    assert flow.request.url == "https://api.anthropic.com/v1/messages"
    assert TICKET_HEADER not in flow.request.headers
    proxy.response(flow)
    assert flow.marked == ":link:" and flow.comment.startswith("fresh first_turn · sessionbridge")
    assert HTTPFlow.from_state(flow.get_state()).metadata["sessionbridge"]["turn"] == 1
    assert proxy.gateway._expected == {} and proxy.exchanges == []


@pytest.mark.parametrize(
    ("thread", "ours"),
    [
        ({"type": "create"}, False),
        ({"type": "continue", "previous_message_id": "msg_01ofTheApi"}, False),
        ({"type": "continue", "previous_message_id": "msg_sb1"}, True),
        ({"type": "continue", "previous_message_id": ["msg_sb1"]}, False),
        ("msg_sb1", False),
    ],
)
async def test_a_thread_is_ours_where_its_answer_was_given_here(
    proxy: Proxy, thread: Any, ours: bool
) -> None:
    """Whether it is known or not: the id tells."""
    content = json.dumps(json.loads(HELLO) | {"thread": thread}).encode()
    if ours:
        assert is_bridged(await proxy.request(make_flow(content=content)))
    else:
        assert await untouched(proxy, make_flow(content=content))


async def test_a_flow_that_ends_in_an_error_is_restored_too(proxy: Proxy) -> None:
    flow = await proxy.request(make_flow(KEYED))
    ticket = flow.request.headers[TICKET_HEADER]
    proxy.error(flow)
    assert flow.request.url == "https://api.anthropic.com/v1/messages"
    assert TICKET_HEADER not in flow.request.headers and ticket not in repr(flow.get_state())
    assert proxy.gateway._expected == {} and sum(proxy.gateway._under_way.values()) == 0


async def test_what_goes_on_without_its_client_is_over_when_that_has_ended(proxy: Proxy) -> None:
    """Also where it began to when its client had left."""

    async def lasts() -> None:
        await asyncio.Event().wait()

    flow = await proxy.request(make_flow(KEYED))
    (exchange,) = proxy.exchanges
    answering, going_on = (asyncio.create_task(lasts()) for _ in range(2))
    proxy.gateway.answers(flow.request.headers[TICKET_HEADER], answering)
    proxy.error(flow)
    exchange.outcome.goes_on = going_on
    for task, under_way in ((answering, 1), (going_on, 0)):
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)  # until who was to be told of that has been
        assert proxy.addon.totals.document(None)["under_way"] == under_way


@pytest.mark.acceptance(26)
@pytest.mark.parametrize(
    "flow",
    [
        make_flow(),
        make_flow(content=gzip.compress(HELLO), headers={"content-encoding": "gzip"}),
        make_flow(content=b"not JSON"),
        make_flow(content=b"[" * 100_000),
        make_flow(content=b""),
        make_flow(content=b'{"messages": ' + b"1" * 1_100_000),
        make_flow(KEYED, path=b"/v1/models"),
        make_flow(KEYED, method=b"GET", content=b""),
        make_flow(port=8443),
        make_flow({"x-sessionbridge-session": ""}),
        make_flow({TICKET_HEADER: "forged"}),
    ],
)
async def test_what_is_not_ours_is_left_byte_for_byte_alone(
    proxy: Proxy, tmp_path: Path, flow: HTTPFlow
) -> None:
    assert await untouched(proxy, flow)
    assert os.listdir(tmp_path) == []


async def test_another_host_is_left_alone(proxy: Proxy) -> None:
    flow = make_flow(KEYED)
    flow.request.host = "example.com"
    assert await untouched(proxy, flow)


async def test_unkeyed_by_option(proxy: Proxy) -> None:
    proxy.set(sessionbridge_unkeyed="stateless")
    assert is_bridged(await proxy.request(make_flow()))


@pytest.mark.parametrize("options", [{}, {"sessionbridge_claude_code": True}])
async def test_our_own_child_reaches_the_api(proxy: Proxy, options: dict[str, Any]) -> None:
    proxy.set(**options)
    child = {**KEYED, CHILD_HEADER: child_secret(proxy.settings.home)}
    assert await passes_as_our_own(proxy, make_flow(child))


@pytest.mark.parametrize("shown", ["", "forged", "f\xf6rged"])
@pytest.mark.parametrize("made", [False, True])
async def test_with_another_mark_nothing_is_bridged(proxy: Proxy, shown: str, made: bool) -> None:
    """It may be that of a bridge with another home, and each would send it to the other."""
    if made:
        child_secret(proxy.settings.home)
    status, error = refusal(await proxy.request(make_flow({**KEYED, CHILD_HEADER: shown})))
    assert status == 403 and "another home" in error["error"]["message"]
    assert await untouched(proxy, make_flow({CHILD_HEADER: shown}))


async def test_a_session_of_ours_in_the_clis_own_header_marks_nothing(proxy: Proxy) -> None:
    store = SessionStore.open(Home(proxy.settings.home).database)
    store.set(SessionKey("p", "id", "claude"), "issued-1")
    store.close()
    named = {"x-claude-code-session-id": "issued-1"}
    assert is_bridged(await proxy.request(make_flow({**KEYED, **named})))
    proxy.set(sessionbridge_claude_code=True)
    assert is_bridged(await proxy.request(make_flow(named)))


@pytest.mark.parametrize("state", ["answered", "failed", "not live"])
async def test_a_flow_that_is_decided_is_left_alone(proxy: Proxy, state: str) -> None:
    flow = make_flow(KEYED)
    if state == "answered":
        flow.response = Response.make(407)
    elif state == "failed":
        flow.error = Error("gone")
    else:
        flow.live = False
    before = flow.get_state()
    await proxy.request(flow)
    assert before == flow.get_state()


PEERS = [
    ("127.0.0.1", True),
    ("::1", True),
    ("::ffff:127.0.0.1", True),
    ("192.168.0.9", False),
    ("::ffff:192.168.0.9", False),
    ("100.64.0.1", False),
    ("2001:db8::1", False),
]


@pytest.mark.parametrize(("peer", "ours"), PEERS)
async def test_other_machines_are_refused(proxy: Proxy, peer: str, ours: bool) -> None:
    for path, kind in ((b"/v1/messages", "permission_error"), (b"/v1/chat/completions", None)):
        flow = make_flow(KEYED, path=path)
        if kind is None:
            flow.request.host = "api.openai.com"
        flow.client_conn.peername = (peer, 50000)
        await proxy.request(flow)
        assert is_bridged(flow) is ours
        if not ours:
            status, error = refusal(flow)
            assert status == 403
            assert error["error"]["type"] == (kind or "request_forbidden")
    proxy.set(sessionbridge_allow_remote=True)
    flow = make_flow(KEYED)
    flow.client_conn.peername = (peer, 50000)
    await proxy.request(flow)
    assert is_bridged(flow) is ours
    if not ours:
        status, error = refusal(flow)
        assert (status, error["error"]["type"]) == (401, "authentication_error")
        assert "sessionbridge clients add NAME" in error["error"]["message"]
    known = make_flow({**KEYED, "x-api-key": add_client(proxy.settings.home)})
    known.client_conn.peername = (peer, 50000)
    assert is_bridged(await proxy.request(known))


async def test_pages_of_other_hosts_are_refused(proxy: Proxy) -> None:
    for page in ("https://example.com", "null", "http://[nonsense"):
        flow = await proxy.request(make_flow({**KEYED, "origin": page}))
        assert refusal(flow)[0] == 403
    own = await proxy.request(make_flow({**KEYED, "origin": "http://localhost:3000"}))
    assert is_bridged(own)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity", "gzip, zstd"])
async def test_compressed_bodies(proxy: Proxy, encoding: str) -> None:
    dispatcher = scripted(proxy)
    flow = make_flow({**KEYED, "content-encoding": encoding}, content=b"")
    flow.request.content = HELLO
    assert is_bridged(await proxy.request(flow))
    assert (await through_the_gateway(flow)).startswith(b"HTTP/1.1 200")
    assert len(dispatcher.jobs) == 1


async def test_http2_requests_get_a_length(proxy: Proxy) -> None:
    flow = make_flow(KEYED, http_version=b"HTTP/2.0")
    flow.request.headers.pop("content-length", None)
    await proxy.request(flow)
    assert flow.request.headers["content-length"] == str(len(HELLO))


async def test_chunked_requests_keep_their_form(proxy: Proxy) -> None:
    """Both headers at once are refused by every careful server, the gateway's among them."""
    scripted(proxy)
    flow = make_flow({**KEYED, "transfer-encoding": "chunked"})
    flow.request.headers.pop("content-length", None)
    await proxy.request(flow)
    assert "content-length" not in flow.request.headers
    assert (await through_the_gateway(flow)).startswith(b"HTTP/1.1 200")


async def test_upstream_mode_does_not_lead_through_the_upstream_proxy(proxy: Proxy) -> None:
    flow = make_flow(KEYED)
    flow.server_conn = connection.Server(
        address=("api.anthropic.com", 443), via=server_spec("http://proxy.example:3128", "http")
    )
    assert is_bridged(await proxy.request(flow))


async def test_reverse_mode_with_the_clients_own_host_header(proxy: Proxy) -> None:
    proxy.set(mode=["reverse:https://llm.example"])
    flow = make_flow({**KEYED, "host": "localhost:8080"}, host="llm.example")
    assert is_bridged(await proxy.request(flow))


async def test_tunnels_to_bridged_hosts_need_no_server(proxy: Proxy) -> None:
    flow = make_flow(method=b"CONNECT", content=b"")
    proxy.http_connect(flow)
    assert flow.response is not None and flow.response.status_code == 200
    assert not flow.response.headers
    refused = make_flow(method=b"CONNECT", content=b"")
    refused.response = Response.make(407)
    proxy.http_connect(refused)
    assert refused.response.status_code == 407
    other = make_flow(method=b"CONNECT", content=b"", host="example.com")
    proxy.http_connect(other)
    assert other.response is None


async def test_event_streams_are_not_held_back(proxy: Proxy) -> None:
    flow = make_flow()
    flow.response = Response.make(200, b"", {"content-type": "text/event-stream; charset=utf-8"})
    proxy.responseheaders(flow)
    assert callable(flow.response.stream)
    other = make_flow()
    other.response = Response.make(200, b"{}", {"content-type": "application/json"})
    proxy.responseheaders(other)
    assert other.response.stream is False


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
async def test_a_session_named_in_the_body(proxy: Proxy, tmp_path: Path, encoding: str) -> None:
    toml = tmp_path / "bridge.toml"
    await asyncio.to_thread(toml.write_text, '[[origins]]\nname = "mine"\nbody = "chat.id"\n')
    proxy.set(sessionbridge_config=str(toml))
    flow = make_flow({"content-encoding": encoding}, content=b"")
    flow.request.content = json.dumps(json.loads(HELLO) | {"chat": {"id": "chat-9"}}).encode()
    assert is_bridged(await proxy.request(flow))
    (exchange,) = proxy.exchanges
    assert exchange.origin == Origin("mine", "chat-9", "conversation", "learn")


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_id": "s", "messages": "cut off \\ud83d"}',
        '{"session_id": "s"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"session_id": "s"}',
        b'{"session_id": "s", "messages": ' + b"[" * 300 + b"]" * 300 + b"}",
    ],
    ids=["lone surrogate", "UTF-16", "byte order mark", "deeply nested"],
)
async def test_a_session_named_in_an_odd_body_is_not_missed(proxy: Proxy, body: bytes) -> None:
    """Such a body may yet be refused, but by the bridge: it must not reach the API unseen."""
    assert is_bridged(await proxy.request(make_flow(content=body)))
    (exchange,) = proxy.exchanges
    assert exchange.origin == Origin("generic", "s", "conversation", "learn")


async def test_the_trace_that_a_request_is_a_part_of_is_known(proxy: Proxy) -> None:
    trace = {"traceparent": "00-a-b-01", "tracestate": "vendor=1"}
    await proxy.request(make_flow({**KEYED, **trace}))
    (exchange,) = proxy.exchanges
    assert exchange.trace == trace


async def test_a_header_sent_twice_is_one_id(proxy: Proxy) -> None:
    flow = make_flow()
    flow.request.headers.set_all("X-Chat-Id", ["a", "b"])
    assert is_bridged(await proxy.request(flow))
    (exchange,) = proxy.exchanges
    assert exchange.origin == Origin("generic", "a, b", "conversation", "learn")


async def test_the_host_that_the_client_names_counts_where_the_address_says_nothing(
    proxy: Proxy,
) -> None:
    assert is_bridged(await proxy.request(make_flow(KEYED, host="203.0.113.9")))
