"""What mitmproxy answers itself for hosts of the APIs: in words that their clients understand."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer, user

NOT_OURS = "http://llm.example/v1/messages"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    """Nothing but loopback is in reach."""
    limit = ("--set", "body_size_limit=10k")
    with running_proxy(tmp_path_factory.mktemp("errors"), api.url, *limit) as running:
        yield running


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_server_out_of_reach(proxy: Proxy, http2: bool) -> None:
    client = proxy.anthropic({}, http2=http2)
    for _ in range(2):  # the connection is good for another one, or is known to be over
        with pytest.raises(anthropic.APIStatusError) as raised:
            client.messages.create(model="sonnet", max_tokens=9, messages=[user("Hi")])
        assert (raised.value.status_code, raised.value.type) == (502, "api_error")
        assert "no answer of 'api.anthropic.com'" in raised.value.message
    with pytest.raises(openai.APIStatusError) as failed:
        proxy.openai({}, http2=http2).models.list()
    assert (failed.value.status_code, failed.value.type) == (502, "server_error")


def test_a_body_that_is_too_large(proxy: Proxy) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        proxy.anthropic({"X-OpenClaw-Session": "large"}).messages.create(
            model="sonnet", max_tokens=9, messages=[user("a" * 20_000)]
        )
    assert (raised.value.status_code, raised.value.type) == (413, "request_too_large")
    assert "body_size_limit" in raised.value.message


@pytest.mark.parametrize("method", ["HEAD", "BREW", "DELETE"])
def test_whatever_is_asked(proxy: Proxy, method: str) -> None:
    answer = proxy.http().request(method, "https://api.openai.com/v1/responses")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/json")
    assert (answer.content == b"") == (method == "HEAD")


def test_that_of_other_hosts_is_mitmproxys(proxy: Proxy) -> None:
    answer: httpx.Response = proxy.http().post(NOT_OURS, json={})
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
