"""`/s/NAME` before a path names the conversation, and no API ever sees it."""

from __future__ import annotations

import json

import pytest
from mitmproxy.http import HTTPFlow, Response
from mitmproxy.proxy import mode_specs

from sessionbridge.claude.cli.child_mark import CHILD_HEADER, child_secret
from tests.support.addon_fixtures import Proxy, is_bridged, make_flow, proxy, refusal

__all__ = ["proxy"]

OWN = "x-sessionbridge-session"


def named(proxy: Proxy, flow: HTTPFlow) -> str | None:
    """The conversation of a flow that is under way."""
    assert is_bridged(flow)
    (exchange,) = proxy.exchanges
    assert exchange.origin is None or exchange.origin.platform == "sessionbridge"
    return exchange.origin.external_id if exchange.origin else None


@pytest.mark.parametrize(
    ("path", "host", "name", "api"),
    [
        ("/s/my-chat/v1/messages", "api.anthropic.com", "my-chat", "messages"),
        ("/s/my-chat/v1/messages?beta=true", "api.anthropic.com", "my-chat", "messages"),
        ("/s/my-chat/messages", "api.anthropic.com", "my-chat", "messages"),
        ("//s/my-chat//v1//messages", "api.anthropic.com", "my-chat", "messages"),
        ("/s/my-chat/v1/v1/chat/completions", "api.openai.com", "my-chat", "chat"),
        ("/s/my-chat/responses", "api.openai.com", "my-chat", "responses"),
        ("/s/s/v1/responses", "api.openai.com", "s", "responses"),
        ("/s/a%2Fb%20c/v1/responses", "api.openai.com", "a/b c", "responses"),
        ("/s/%20caf%C3%A9%20/v1/responses", "api.openai.com", "café", "responses"),
        ("/s/100%25+1/v1/responses", "api.openai.com", "100%+1", "responses"),
    ],
)
async def test_the_name_in_the_path(
    proxy: Proxy, path: str, host: str, name: str, api: str
) -> None:
    flow = await proxy.request(make_flow(path=path.encode(), host=host))
    assert named(proxy, flow) == name
    assert proxy.exchanges[0].api == api
    flow.response = Response.make(200)
    proxy.responseheaders(flow)
    assert flow.request.path == path and OWN not in flow.request.headers


async def test_a_name_that_is_too_long_is_hashed_as_everywhere(proxy: Proxy) -> None:
    flow = await proxy.request(make_flow(path=b"/s/" + b"x" * 300 + b"/v1/messages"))
    assert (named(proxy, flow) or "").startswith("sha256:")


@pytest.mark.parametrize(
    ("headers", "body", "name"),
    [
        ({OWN: "header"}, {}, "header"),
        ({OWN: ""}, {}, "path"),
        ({OWN: "undefined"}, {}, "path"),
        ({"x-session-id": "generic"}, {}, "path"),
        ({"x-openwebui-chat-id": "platform"}, {}, "path"),
        ({}, {"conversation_id": "body"}, "path"),
        ({"user-agent": "claude-cli/2.1"}, {}, "path"),
    ],
)
async def test_our_own_header_alone_comes_before_it(
    proxy: Proxy, headers: dict[str, str], body: dict[str, str], name: str
) -> None:
    content = json.dumps({"model": "sonnet", "messages": [], **body}).encode()
    flow = await proxy.request(make_flow(headers, content, path=b"/s/path/v1/messages"))
    assert named(proxy, flow) == name


@pytest.mark.parametrize(
    "name", ["", "v1", "V1", ".", "..", "%20", "undefined", "null", "%7B%7Bchat%7D%7D"]
)
async def test_a_path_that_names_nothing_is_refused(proxy: Proxy, name: str) -> None:
    """Whatever is asked, and although the same in a header only names nothing."""
    for rest in ("v1/messages", "v1/models"):
        flow = await proxy.request(make_flow(path=f"/s/{name}/{rest}".encode()))
        status, error = refusal(flow)
        assert status == 400 and "names no conversation" in error["error"]["message"]


@pytest.mark.parametrize(("name", "problem"), [("a%00b", "control"), ("%ff", "UTF-8")])
async def test_a_name_that_cannot_be_one(proxy: Proxy, name: str, problem: str) -> None:
    flow = await proxy.request(make_flow(path=f"/s/{name}/v1/messages".encode()))
    status, error = refusal(flow)
    assert (status, error["type"]) == (400, "error")
    assert "the address" in error["error"]["message"] and problem in error["error"]["message"]
    proxy.responseheaders(flow)
    assert flow.request.path == f"/s/{name}/v1/messages"


@pytest.mark.parametrize(
    "path",
    [
        "v1/models",
        "v1/messages/count_tokens?beta=true",
        "v1/embeddings",
        "dashboard",
        "v1/threads/t/messages",
        "v1/responses/resp_1/input_items",
        "s",
        ".",
    ],
)
async def test_what_is_not_bridged_passes_on_without_the_prefix(proxy: Proxy, path: str) -> None:
    flow = make_flow(path=f"/s/my-chat/{path}".encode())
    headers = flow.request.headers.copy()
    await proxy.request(flow)
    assert flow.response is None and not proxy.exchanges
    assert (flow.request.path, flow.request.headers) == (f"/{path}", headers)
    flow.response = Response.make(200)
    proxy.responseheaders(flow)
    assert flow.request.path == f"/s/my-chat/{path}"


async def test_a_web_socket_is_asked_for_without_it(proxy: Proxy) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
    path = b"/s/my-chat/v1/responses"
    flow = make_flow(upgrade, b"", method=b"GET", path=path, host="api.openai.com")
    await proxy.request(flow)
    assert flow.request.path == "/v1/responses"
    flow.response = Response.make(101)
    proxy.responseheaders(flow)
    assert flow.request.path == path.decode()


async def test_our_own_child_passes_on_without_it_too(proxy: Proxy) -> None:
    child = {CHILD_HEADER: child_secret(proxy.settings.home)}
    flow = await proxy.request(make_flow(child, path=b"/s/my-chat/v1/messages"))
    assert not proxy.exchanges and flow.request.path == "/v1/messages"


async def test_a_flow_that_ends_in_an_error_shows_what_was_asked(proxy: Proxy) -> None:
    flow = await proxy.request(make_flow(path=b"/s/my-chat/v1/messages"))
    proxy.error(flow)
    assert flow.request.url == "https://api.anthropic.com/s/my-chat/v1/messages"


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/s/my-chat/v1/messages", "example.com"),
        ("/s/my-chat", "api.anthropic.com"),
        ("/s/my-chat/", "api.anthropic.com"),
        ("/s/my-chat/?x=1", "api.anthropic.com"),
        ("/sessions/my-chat/v1/messages", "api.anthropic.com"),
    ],
)
async def test_paths_without_it_and_other_hosts_are_left_alone(
    proxy: Proxy, path: str, host: str
) -> None:
    flow = make_flow(path=path.encode(), host=host, headers={"host": host})
    before = flow.get_state()
    await proxy.request(flow)
    assert flow.get_state() == before


async def test_the_target_of_reverse_mode_is_one_of_our_hosts(proxy: Proxy) -> None:
    mode = "reverse:http://llm.example:9@8081"
    proxy.set(mode=["regular", mode])
    flow = make_flow(
        {"host": "127.0.0.1:8081"}, path=b"/s/my-chat/v1/messages", host="llm.example", port=9
    )
    flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse(mode)
    assert named(proxy, await proxy.request(flow)) == "my-chat"


async def test_a_preflight_of_such_a_path(proxy: Proxy) -> None:
    page = {"origin": "http://localhost:5173", "access-control-request-method": "POST"}
    flow = make_flow(page, b"", method=b"OPTIONS", path=b"/s/my-chat/v1/messages")
    await proxy.request(flow)
    assert flow.response is not None and flow.response.status_code == 204
