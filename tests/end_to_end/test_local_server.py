"""The proxy as a local API server: reverse mode, a target that does not exist, official clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.support.proxy import Proxy, free_port, running_proxy, said
from tests.support.scripted_api import ScriptedServer, user

TARGET = "target.invalid"
CONFIG = '[models]\n"gpt-4o" = "haiku"\n"gpt-*" = "sonnet"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    home = tmp_path_factory.mktemp("server")
    config = home / "config.toml"
    config.write_text(CONFIG)
    options = {"upstream": "false", "config": str(config), "unknown_model": "refuse"}
    mode = f"reverse:http://{TARGET}:9@{free_port()}"
    with running_proxy(home, api.url, "--mode", mode, options=options) as proxy:
        yield proxy


@pytest.fixture
def claude(server: Proxy) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key="unused",
        base_url=server.url,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
    ) as client:
        yield client


@pytest.fixture
def gpt(server: Proxy) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="unused",
        base_url=f"{server.url}/v1",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client:
        yield client


def test_whether_models_are_listed_can_be_asked_without_having_them(server: Proxy) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        listed, head = client.get("/v1/models"), client.head("/v1/models")
        assert head.status_code == 200 and head.content == b""
        assert head.headers["content-length"] == str(len(listed.content))
        assert client.get("/v1/models/").json() == client.get("/models").json() == listed.json()


def test_a_page_of_this_machine_is_answered(server: Proxy) -> None:
    page = {"origin": "http://localhost:5173"}
    body = {"model": "sonnet", "max_tokens": 9, "messages": [user("My name is Una. (cors)")]}
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        asks = {**page, "access-control-request-method": "POST"}
        allowed = client.options("/v1/messages", headers=asks)
        assert allowed.status_code == 204
        answered = client.post("/v1/messages", json=body, headers=page)
        refused = client.post("/v1/messages", json={}, headers=page)
        assert (answered.status_code, refused.status_code) == (200, 400)
        for response in (allowed, answered, refused, client.get("/v1/models", headers=page)):
            assert response.headers["access-control-allow-origin"] == page["origin"]


def test_the_anthropic_client_lists_models(claude: anthropic.Anthropic) -> None:
    models = {model.id: model.display_name for model in claude.models.list(limit=1)}
    assert models["sonnet"] == claude.models.retrieve("sonnet").display_name == "Sonnet"
    assert "gpt-4o" in models and "gpt-*" not in models
    with pytest.raises(anthropic.NotFoundError, match="model: gpt-9"):
        claude.models.retrieve("gpt-9")


def test_the_openai_client_lists_models(gpt: openai.OpenAI) -> None:
    models = [model.id for model in gpt.models.list()]
    assert {"default", "opus", "sonnet", "haiku", "gpt-4o"} <= set(models)
    assert gpt.models.retrieve("gpt-4o").id == "gpt-4o"
    with pytest.raises(openai.NotFoundError) as caught:
        gpt.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


def test_either_client_is_answered_without_a_conversation_id(
    claude: anthropic.Anthropic, gpt: openai.OpenAI, api: ScriptedServer
) -> None:
    answer = claude.messages.create(
        model="sonnet", max_tokens=9, messages=[user("My name is Lou. (local)")]
    )
    assert said(answer) == "Nice to meet you, Lou!"
    completion = gpt.chat.completions.create(
        model="gpt-4o", messages=[user("My name is Mia. (local)")]
    )
    assert completion.choices[0].message.content == "Nice to meet you, Mia!"
    assert "haiku" in completion.model


def test_a_base_url_may_name_the_conversation(server: Proxy) -> None:
    with openai.OpenAI(
        api_key="unused",
        base_url=f"{server.url}/s/alone/v1",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client:
        models = [model.id for model in client.models.list()]
        assert "sonnet" in models and client.models.retrieve("gpt-4o").id == "gpt-4o"
        client.chat.completions.create(model="gpt-4o", messages=[user("My name is Ada. (alone)")])
        completion = client.chat.completions.create(
            model="gpt-4o", messages=[user("What is my name?")]
        )
        assert completion.choices[0].message.content == "Your name is Ada."


def test_a_model_that_nobody_knows_is_refused(
    claude: anthropic.Anthropic, gpt: openai.OpenAI
) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model: llama"):
        claude.messages.create(model="llama", max_tokens=9, messages=[user("Hi.")])
    with pytest.raises(openai.NotFoundError) as caught:
        gpt.chat.completions.create(model="llama", messages=[user("Hi.")])
    assert caught.value.code == "model_not_found"


def test_all_else_is_answered_here(
    server: Proxy, claude: anthropic.Anthropic, gpt: openai.OpenAI
) -> None:
    with pytest.raises(anthropic.NotFoundError, match="Tokens are not counted here"):
        claude.messages.count_tokens(model="sonnet", messages=[user("Hi.")])
    with pytest.raises(openai.NotFoundError, match="Tokens are not counted here"):
        gpt.responses.input_tokens.count(model="sonnet", input="Hi.")
    with pytest.raises(openai.NotFoundError):
        gpt.embeddings.create(model="sonnet", input="Hi.")
    with httpx.Client(trust_env=False) as browser:
        assert browser.get(server.url).status_code == 404
        page = browser.get(f"{server.url}/v1/models", headers={"origin": "https://example.com"})
        assert page.status_code == 403
    # The gateway alone: no other server is connected to, the target least of all.
    assert server.connected_hosts() <= {"127.0.0.1"}
    assert TARGET in server.flows()[0]["url"]


def test_where_mitmproxy_streams_large_bodies_it_is_the_same(
    tmp_path: Path, api: ScriptedServer
) -> None:
    modes = ("--mode", f"reverse:http://127.0.0.1:9@{free_port()}")
    large = ("--set", "stream_large_bodies=1k")
    with ExitStack() as stack:
        options = {"upstream": "false"}
        server = stack.enter_context(
            running_proxy(tmp_path, api.url, *modes, *large, options=options)
        )
        client = stack.enter_context(httpx.Client(base_url=server.url, trust_env=False))
        assert client.get("/v1/models", timeout=30).json()["object"] == "list"
        assert client.post("/v1/files", content=iter([b"x" * 5000])).status_code == 404
        assert client.get("/v1/models/none").json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/v1/realtime?model=gpt-realtime", "/v1/chat/completions"])
def test_another_websocket_is_refused_at_once(server: Proxy, path: str) -> None:
    """After a 426 Codex goes on by POST; after a 404 it tries for eleven seconds."""
    asked = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        refused = client.get(path, headers=asked)
    assert refused.status_code == 426
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error" and "no WebSocket" in error["message"]


def test_a_websocket_needs_no_name_here(server: Proxy) -> None:
    """Nor that the client asks for the answer to be kept, which the API does as long as it is
    connected."""
    with openai.OpenAI(api_key="unused", base_url=f"{server.url}/v1") as client:
        options: Any = {"proxy": None}
        connection = client.responses.connect(websocket_connection_options=options).enter()
        told: list[Any] = []
        for text in ("My name is Ida.", "What is my name?"):
            previous = told[-1].id if told else None
            connection.response.create(
                model="haiku", input=text, store=False, previous_response_id=previous
            )
            ends = (event for event in connection if event.type == "response.completed")
            told.append(next(ends).response)
        connection.close()
    assert [answer.output_text for answer in told] == [
        "Nice to meet you, Ida!",
        "Your name is Ida.",
    ]
