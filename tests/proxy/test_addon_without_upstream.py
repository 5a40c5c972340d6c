"""`sessionbridge_upstream=false`: what is answered here, and that nothing of it goes anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy import mode_specs

from sessionbridge.claude.catalog import Model
from sessionbridge.claude.cli.child_mark import CHILD_HEADER, child_secret
from sessionbridge.errors import ClaudeFailed
from tests.support.addon_fixtures import KEYED, Proxy, is_bridged, make_flow, proxy, refusal
from tests.support.known_clients import add_client

__all__ = ["proxy"]

ANTHROPIC = {"anthropic-version": "2023-06-01"}
TARGET = "llm.example"
MODE = f"reverse:http://{TARGET}:9@8081"


class Models:
    """The dispatcher, as far as it is asked here."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails: Exception | None = None

    async def models(self) -> tuple[Model, ...]:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        return (Model("sonnet", "Sonnet", "claude-sonnet-5-5"),)

    def kill(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
async def local(proxy: Proxy) -> AsyncIterator[Proxy]:
    proxy.set(sessionbridge_upstream=False, mode=["regular", MODE])
    proxy.addon.runtime.default.dispatcher = Models()  # type: ignore[assignment]
    yield proxy


def asked(proxy: Proxy) -> int:
    dispatcher: Any = proxy.addon.runtime.default.dispatcher
    return int(dispatcher.asked)


def reversed_flow(
    path: str, headers: dict[str, str] | None = None, method: str = "GET", host: str = TARGET
) -> HTTPFlow:
    content = b"{}" if method == "POST" else b""
    flow = make_flow(
        headers, content, path=path.encode(), method=method.encode(), host=TARGET, port=9
    )
    flow.request.headers["host"] = host
    flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse(MODE)
    return flow


@pytest.mark.parametrize("host", [TARGET, "127.0.0.1:8080"])
async def test_the_models_in_either_apis_words(local: Proxy, host: str) -> None:
    status, page = refusal(await local.request(reversed_flow("/v1/models", host=host)))
    assert (status, page["object"], page["data"][0]["id"]) == (200, "list", "sonnet")
    flow = await local.request(reversed_flow("/v1/models/sonnet", ANTHROPIC, host=host))
    status, model = refusal(flow)
    assert (status, model["type"], model["display_name"]) == (200, "model", "Sonnet")
    assert flow.comment == "answered here · models"


async def test_a_client_is_told_the_names_it_can_use(proxy: Proxy, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[providers.team]\nfor_clients = ["bob"]\nmodels = { teams = "opus" }')
    proxy.set(sessionbridge_upstream=False, sessionbridge_config=str(config), mode=[MODE])
    proxy.addon.runtime.default.dispatcher = Models()  # type: ignore[assignment]
    for name, names in (("ann", ["sonnet"]), ("bob", ["sonnet", "teams"])):
        token = {"x-api-key": add_client(proxy.settings.home, name)}
        _, page = refusal(await proxy.request(reversed_flow("/v1/models", token)))
        assert [model["id"] for model in page["data"]] == names
        status, _ = refusal(await proxy.request(reversed_flow("/v1/models/teams", token)))
        assert status == (200 if "teams" in names else 404)


async def test_a_model_that_is_not_there(local: Proxy) -> None:
    status, error = refusal(await local.request(reversed_flow("/v1/models/gpt-9")))
    assert (status, error["error"]["code"]) == (404, "model_not_found")
    status, error = refusal(await local.request(reversed_flow("/v1/models/gpt-9", ANTHROPIC)))
    assert (status, error["error"]["type"]) == (404, "not_found_error")
    assert error["error"]["message"].startswith("model: gpt-9 ")


async def test_all_else_is_not_found(local: Proxy) -> None:
    counted = reversed_flow("/v1/messages/count_tokens", method="POST")
    status, error = refusal(await local.request(counted))
    assert (status, error["type"], error["error"]["type"]) == (404, "error", "not_found_error")
    status, error = refusal(await local.request(reversed_flow("/v1/embeddings", method="POST")))
    assert (status, error["error"]["type"]) == (404, "invalid_request_error")
    assert asked(local) == 0


async def test_requests_without_a_conversation_are_bridged(local: Proxy) -> None:
    for headers in ({}, KEYED):
        flow = make_flow(headers, host=TARGET, port=9)
        flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse(MODE)
        assert is_bridged(await local.request(flow))


async def test_bridged_hosts_of_regular_mode_are_answered_here_too(local: Proxy) -> None:
    flow = make_flow(method=b"GET", content=b"", path=b"/v1/models", host="api.openai.com")
    assert refusal(await local.request(flow))[0] == 200


async def test_so_are_those_that_are_named_by_the_handshake_alone(local: Proxy) -> None:
    flow = make_flow(method=b"GET", content=b"", path=b"/v1/models", host="198.51.100.7")
    flow.request.headers["host"] = "localhost"
    flow.client_conn.sni = "api.openai.com"
    assert refusal(await local.request(flow))[0] == 200


@pytest.mark.parametrize("host", ["example.com", TARGET])
async def test_other_hosts_of_regular_mode_are_not_ours(local: Proxy, host: str) -> None:
    """Not even one that has the reverse target's name: its ports may be any server's."""
    flow = make_flow({"host": host}, method=b"GET", content=b"", path=b"/v1/models", host=host)
    before = flow.get_state()
    await local.request(flow)
    assert flow.get_state() == before


async def test_the_guard_is_the_same(local: Proxy) -> None:
    elsewhere = reversed_flow("/v1/models")
    elsewhere.client_conn.peername = ("192.168.0.9", 50000)
    status, error = refusal(await local.request(elsewhere))
    assert (status, error["error"]["type"]) == (403, "request_forbidden")
    for headers in ({"origin": "https://example.com"}, {"sec-fetch-site": "cross-site"}):
        page = reversed_flow("/v1/models", ANTHROPIC | headers)
        status, error = refusal(await local.request(page))
        assert (status, error["error"]["type"]) == (403, "permission_error")
    assert asked(local) == 0


async def test_our_own_child_cannot_pass_either(local: Proxy) -> None:
    flow = make_flow({**KEYED, CHILD_HEADER: child_secret(local.settings.home)})
    status, error = refusal(await local.request(flow))
    assert status == 403 and "sessionbridge_upstream" in error["error"]["message"]


async def test_a_cli_that_cannot_be_started(local: Proxy) -> None:
    dispatcher: Any = local.addon.runtime.default.dispatcher
    dispatcher.fails = ClaudeFailed("The Claude CLI was not found.")
    status, error = refusal(await local.request(reversed_flow("/v1/models", ANTHROPIC)))
    assert (status, error["error"]["type"]) == (502, "api_error")


async def test_options_that_are_wrong_open_no_way_out(local: Proxy) -> None:
    local.addon.options.settings = None
    assert refusal(await local.request(reversed_flow("/v1/models")))[0] == 500
    assert refusal(await local.request(reversed_flow("/anything")))[0] == 500


async def test_with_an_api_behind_it_all_this_passes(local: Proxy) -> None:
    local.set(sessionbridge_upstream=True)
    for path in ("/v1/models", "/v1/models/sonnet", "/v1/messages/count_tokens"):
        flow = reversed_flow(path)
        before = flow.get_state()
        await local.request(flow)
        assert flow.get_state() == before
