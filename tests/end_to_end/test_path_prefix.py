"""Programs that let nothing be set but a base URL: `/s/NAME` in it carries the conversation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.support.proxy import Proxy, free_port, running_proxy, said
from tests.support.raw_upstream import RawUpstream, raw_upstream
from tests.support.scripted_api import ScriptedServer, user

MODELS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with raw_upstream(MODELS) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer, upstream: RawUpstream
) -> Iterator[Proxy]:
    home = tmp_path_factory.mktemp("prefix")
    mode = f"reverse:http://127.0.0.1:{upstream.port}@{free_port()}"
    with running_proxy(home, api.url, "--mode", mode, "--mode", "regular@0") as proxy:
        yield proxy


def claude(url: str) -> anthropic.Anthropic:
    client = anthropic.DefaultHttpxClient(trust_env=False)
    return anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, http_client=client)


def gpt(url: str) -> openai.OpenAI:
    client = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(api_key="k", base_url=url, max_retries=0, http_client=client)


def test_a_base_url_is_a_conversation(server: Proxy, upstream: RawUpstream) -> None:
    """Of all APIs and with or without the version: what one was told, the others know."""
    url = f"{server.url}/s/my%20chat"
    with claude(url) as client:
        answer = client.messages.create(
            model="sonnet", max_tokens=9, messages=[user("My name is Zoe. (prefix)")]
        )
        assert said(answer) == "Nice to meet you, Zoe!"
    asks: Any = [user("What is my name?")]
    with gpt(f"{url}/v1") as client:
        completion = client.chat.completions.create(model="sonnet", messages=asks)
        assert completion.choices[0].message.content == "Your name is Zoe."
    with gpt(url) as client:
        response = client.responses.create(model="sonnet", input="What is my name?")
        assert response.output_text == "Your name is Zoe."
        with client.responses.create(model="sonnet", input="Hello again.", stream=True) as events:
            assert [event.type for event in events][-1] == "response.completed"
    flows = server.bridged("my chat", 4)
    assert {flow["metadata"]["platform"] for flow in flows} == {"sessionbridge"}
    assert [flow["url"].partition("/s/")[2] for flow in flows] == [
        "my%20chat/v1/messages",
        "my%20chat/v1/chat/completions",
        "my%20chat/responses",
        "my%20chat/responses",
    ]
    assert not upstream.received


def test_our_header_is_the_same_conversation(server: Proxy) -> None:
    with claude(f"{server.url}/s/one-chat") as client:
        hello = [user("My name is Kit. (prefix)")]
        client.messages.create(model="sonnet", max_tokens=9, messages=hello)
    with claude(server.url) as client:
        answer = client.messages.create(
            model="sonnet",
            max_tokens=9,
            messages=[user("What is my name?")],
            extra_headers={"X-SessionBridge-Session": "one-chat"},
        )
        assert said(answer) == "Your name is Kit."


def test_what_passes_on_does_so_without_the_prefix(server: Proxy, upstream: RawUpstream) -> None:
    with httpx.Client(trust_env=False, timeout=30) as client:
        assert client.get(f"{server.url}/s/my-models/v1/models?limit=1").json() == {}
        refused = client.post(f"{server.url}/s//v1/messages", json={})
        assert refused.status_code == 400
        assert "/s/my-chat/v1" in refused.json()["error"]["message"]
    (received,) = upstream.received
    assert received.startswith(b"GET /v1/models?limit=1 HTTP/1.1\r\n")
    assert b"my-models" not in received
    shown = [flow["url"] for flow in server.flows() if "my-models" in flow["url"]]
    assert [url.partition("/s/")[2] for url in shown] == ["my-models/v1/models?limit=1"]


def test_through_the_proxy_the_apis_own_address_may_have_it(server: Proxy) -> None:
    with httpx.Client(
        proxy=f"http://127.0.0.1:{server.ports[1]}", verify=server.tls(), trust_env=False
    ) as client:
        answered = client.post(
            "https://api.anthropic.com/s/far-chat/v1/messages",
            json={"model": "sonnet", "max_tokens": 9, "messages": [user("My name is Lea.")]},
            timeout=30,
        )
        assert answered.json()["content"][0]["text"] == "Nice to meet you, Lea!"
    server.bridged("far-chat", 1)
    assert server.connected_hosts() <= {"127.0.0.1"}
