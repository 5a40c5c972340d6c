"""Which requests are ours, and who may send them."""

from __future__ import annotations

import pytest
from mitmproxy.http import Request

from sessionbridge.endpoints import Endpoint, known
from sessionbridge.proxy.routing import Routes, foreign_page, is_loopback
from sessionbridge.traffic.reading import api_of

AZURE = "me.openai.azure.com"
GEMINI = "generativelanguage.googleapis.com"
ROUTES = Routes([Endpoint(host="LLM.local", path="/api/chat", api="chat")], ["gateway.example"])
NAMED = Routes([row for rows in known().values() for row in rows])


def to(place: str, path: str) -> Request:
    host, _, port = place.partition(":")
    request = Request.make("POST", "https://placeholder/", headers={})
    request.data.host, request.data.port, request.data.path = host, int(port or 443), path.encode()
    return request


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
        ("api.openai.com", "/v1/responses/compact", "responses"),
        ("api.openai.com", "/v1/responses/compact/x", None),
    ],
)
def test_the_api_spoken_there(host: str, path: str, api: str | None) -> None:
    assert ROUTES.api_of_turn(to(host, path)) == api


def test_bridged_hosts() -> None:
    assert ROUTES.bridged_host("Api.OpenAI.com.", 443) and ROUTES.bridged_host("llm.local", 80)
    assert not ROUTES.bridged_host("example.com", 443)


def test_the_target_of_reverse_mode_is_some_other_server_elsewhere() -> None:
    assert ROUTES.bridged_host("gateway.example", 443)
    assert not ROUTES.bridged_by_name("gateway.example", 443)
    assert ROUTES.bridged_by_name("Api.OpenAI.com", 443)
    assert ROUTES.bridged_by_name("llm.local", 80)


@pytest.mark.parametrize(
    ("host", "path", "api", "model"),
    [
        (AZURE, "/openai/deployments/My-GPT/chat/completions?api-version=1", "chat", "My-GPT"),
        (AZURE, "//openai/deployments/gpt%2D4.1_x/chat/completions/", "chat", "gpt-4.1_x"),
        (AZURE, "/OpenAI/Deployments/x/Chat/Completions", "chat", "x"),
        (AZURE, "/openai/deployments/x/embeddings", None, None),
        (AZURE, "/openai/deployments/x/y/chat/completions", None, None),
        (AZURE, "/openai/v1/chat/completions", "chat", None),
        (AZURE, "/openai/v1/responses?api-version=preview", "responses", None),
        (AZURE, "/openai/responses?api-version=2025-04-01-preview", "responses", None),
        ("a.b.services.ai.azure.com", "/anthropic/v1/messages", "messages", None),
        ("openai.azure.com", "/openai/v1/responses", None, None),
        ("me.openai.azure.com.evil.example", "/openai/v1/responses", None, None),
        ("openrouter.ai", "/api/v1/chat/completions", "chat", None),
        ("openrouter.ai", "/api/v1/responses", "responses", None),
        ("openrouter.ai", "/api/v1/messages", "messages", None),
        ("openrouter.ai", "/v1/chat/completions", None, None),
        ("api.groq.com", "/openai/v1/chat/completions", "chat", None),
        ("api.deepseek.com", "/chat/completions", "chat", None),
        ("api.deepseek.com", "/v1/chat/completions", "chat", None),
        ("api.deepseek.com", "/anthropic/v1/messages?beta=true", "messages", None),
        ("api.mistral.ai", "/v1/chat/completions", "chat", None),
        ("api.x.ai", "/v1/responses", "responses", None),
        ("api.together.xyz", "/v1/chat/completions", "chat", None),
        ("models.github.ai", "/inference/chat/completions", "chat", None),
        ("models.github.ai", "/orgs/my-org/inference/chat/completions", "chat", None),
        ("models.inference.ai.azure.com", "/chat/completions", "chat", None),
        (GEMINI, "/v1beta/openai/chat/completions", "chat", None),
        (GEMINI, "/v1beta/models/gemini-2.5-flash:generateContent", None, None),
        ("localhost:11434", "/v1/chat/completions", "chat", None),
        ("127.0.0.1:1234", "/v1/responses", "responses", None),
        ("localhost:3000", "/v1/chat/completions", None, None),
        ("localhost", "/v1/chat/completions", None, None),
    ],
)
def test_endpoints_that_are_switched_on_by_name(
    host: str, path: str, api: str | None, model: str | None
) -> None:
    assert NAMED.api_of_turn(to(host, path)) == api
    assert NAMED.model_at(to(host, path)) == model
    assert Routes(()).api_of_turn(to(host, path)) is None
    # In reverse mode the path alone counts, whatever the target.
    target = [host.partition(":")[0]]
    alone = Routes((), target, alone=True)
    assert api is None or alone.api_of_turn(to(host, path)) == api
    beside = Routes((), target).api_of_turn(to(host, path))
    assert api is None or beside == (None if api == "ollama" else api)


@pytest.mark.parametrize(
    ("host", "port", "bridged"),
    [
        ("me.openai.azure.com", 443, True),
        ("openai.azure.com", 443, False),
        ("azure.com", 443, False),
        ("localhost", 11434, True),
        ("localhost", 1234, True),
        ("localhost", 22, False),
        ("www.google.com", 443, False),
    ],
)
def test_hosts_below_a_name_and_at_a_port(host: str, port: int, bridged: bool) -> None:
    assert NAMED.bridged_host(host, port) is NAMED.bridged_by_name(host, port) is bridged


@pytest.mark.parametrize("name", known())
def test_what_passes_on_to_them_is_counted_as_the_same_api(name: str) -> None:
    for row in known()[name]:
        assert api_of(row.path.replace("{model}", "gpt-4o")) == row.api


def test_rows_of_ones_own_may_have_both() -> None:
    rows = [
        Endpoint(host="*.llm.example:8443", path="/{model}/chat", api="chat"),
        Endpoint(host="a.llm.example", path="/fixed/chat", api="messages"),
    ]
    routes = Routes(rows)
    assert routes.api_at(to("a.llm.example:8443", "/big/chat")) == "chat"
    assert routes.model_at(to("a.llm.example:8443", "/big/chat")) == "big"
    assert routes.api_at(to("a.llm.example", "/big/chat")) is None
    assert routes.api_at(to("a.llm.example", "/fixed/chat")) == "messages"
    assert routes.api_at(to("b.llm.example:8443", "/fixed/chat")) == "chat"


def test_of_two_rows_for_one_place_the_first_counts() -> None:
    own = Endpoint(host="api.groq.com", path="/openai/v1/responses", api="chat")
    assert Routes([own, *known()["groq"]]).api_at(to(own.host, own.path)) == "chat"
    built_in = Endpoint(host="api.openai.com", path="/v1/responses", api="chat")
    assert Routes([built_in]).api_at(to(built_in.host, built_in.path)) == "chat"


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


@pytest.mark.parametrize(
    ("host", "path", "found"),
    [
        ("api.openai.com", "/v1/responses/resp_1", ("resp_1",)),
        ("api.openai.com", "/responses/resp_1/cancel?a=b", ("resp_1", "cancel")),
        ("api.openai.com", "/v1/responses", None),
        ("api.openai.com", "/V1/Responses/resp_Ab/cancel", ("resp_Ab", "cancel")),
        ("api.openai.com", "/v1/responses/resp_1/a/b", ("resp_1", "a", "b")),
        ("api.openai.com", "/V1/CONVERSATIONS/conv_1/items/msg_1", ("conv_1", "items", "msg_1")),
        ("api.openai.com", "/v1/models/responses/x", None),
        ("example.com", "/v1/responses/resp_1", None),
    ],
)
def test_what_is_asked_for_by_its_id(host: str, path: str, found: tuple[str, ...] | None) -> None:
    object_path = Routes(()).object_at(Request.make("GET", f"https://{host}{path}"))
    assert (object_path and object_path.rest) == found
