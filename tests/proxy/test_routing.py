"""Which requests are ours, and who may send them."""

from __future__ import annotations

import pytest

from sessionbridge.addresses import plain_host
from sessionbridge.config import Endpoint
from sessionbridge.proxy.routing import Routes, foreign_page, is_loopback

ROUTES = Routes([Endpoint(host="LLM.local", path="/api/chat", api="chat")], ["gateway.example"])


@pytest.mark.parametrize(
    ("host", "path", "api"),
    [
        ("api.anthropic.com", "/v1/messages", "messages"),
        ("API.Anthropic.com", "/v1/messages?beta=true", "messages"),
        ("api.openai.com", "/v1/chat/completions", "chat"),
        ("api.openai.com", "/v1/responses", "responses"),
        ("gateway.example", "/v1/responses", "responses"),
        ("api.openai.com", "/v1/responses/resp_1", None),
        ("api.openai.com", "/v1/responses/resp_1/cancel", None),
        ("gateway.example", "/v1/messages", "messages"),
        ("llm.local", "/api/chat", "chat"),
        ("api.anthropic.com", "/v1/messages/count_tokens", None),
        ("api.anthropic.com", "/v1/messages/batches", None),
        ("api.anthropic.com", "/api/chat", None),
        ("llm.local", "/v1/messages", None),
        ("api.anthropic.com.evil.example", "/v1/messages", None),
        ("example.com", "/v1/messages", None),
        ("api.anthropic.com.", "/v1/messages", "messages"),
        ("api.anthropic.com", "/v1/messages/", "messages"),
        ("api.anthropic.com", "//v1//messages?beta=true", "messages"),
        ("api.anthropic.com", "/v1/v1/messages", "messages"),
        ("api.anthropic.com", "/messages", "messages"),
        ("api.anthropic.com", "/v1/mess%61ges", "messages"),
        ("api.anthropic.com", "/v1%2Fmessages", "messages"),
        ("api.anthropic.com", "/V1/Messages", "messages"),
        ("api.anthropic.com..", "/v1/messages%3Fbeta=true", "messages"),
        ("api.anthropic.com", "/v1/messages%20", "messages"),
        ("api.anthropic.com", "/v1/messages;a=b", "messages"),
        ("api.anthropic.com", "/v1/./x/../messages", "messages"),
        ("api.openai.com", "/chat/completions/", "chat"),
        ("api.openai.com", "/v1/v1/chat//completions", "chat"),
        ("api.openai.com", "/responses", "responses"),
        ("llm.local", "/API/chat/", "chat"),
        ("api.anthropic.com", "/v2/messages", None),
        ("api.anthropic.com", "/x/v1/messages", None),
        ("api.anthropic.com", "/v1/messagesx", None),
    ],
)
def test_the_api_spoken_there(host: str, path: str, api: str | None) -> None:
    assert ROUTES.apis(path).get(plain_host(host)) == api


def test_bridged_hosts() -> None:
    assert ROUTES.bridged_host("Api.OpenAI.com.") and ROUTES.bridged_host("llm.local")
    assert not ROUTES.bridged_host("example.com")


def test_the_target_of_reverse_mode_is_some_other_server_elsewhere() -> None:
    assert ROUTES.bridged_host("gateway.example")
    assert not ROUTES.bridged_by_name("gateway.example")
    assert ROUTES.bridged_by_name("Api.OpenAI.com") and ROUTES.bridged_by_name("llm.local")


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::1%lo", True),
        ("::ffff:192.168.0.9", False),
        ("192.168.0.9", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_loopback(address: str, ours: bool) -> None:
    assert is_loopback(address) is ours


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        (None, False),
        ("", False),
        ("http://localhost:3000", False),
        ("https://127.0.0.1", False),
        ("http://[::1]:8080", False),
        ("tauri://localhost", False),
        ("http://app.localhost:3000", False),
        ("http://localhost.", False),
        ("null", True),
        ("https://example.com", True),
        ("http://localhost.example.com", True),
        ("http://localhost@example.com", True),
        ("http://192.168.0.9", True),
        ("http://[nonsense", True),
    ],
)
def test_foreign_page(origin: str | None, foreign: bool) -> None:
    assert foreign_page(origin) is foreign


@pytest.mark.parametrize(
    ("origin", "site", "foreign"),
    [
        (None, "cross-site", True),
        (None, "same-site", False),
        (None, "none", False),
        (None, None, False),
        ("http://localhost:3000", "cross-site", False),
        ("https://example.com", "none", True),
    ],
)
def test_pages_whose_requests_name_no_origin(
    origin: str | None, site: str | None, foreign: bool
) -> None:
    assert foreign_page(origin, site) is foreign
