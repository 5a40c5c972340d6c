"""Hosts that are built into programs, switched on by name, as the official clients ask them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.support.proxy import Proxy, running_proxy, said
from tests.support.scripted_api import ScriptedServer, user

CONFIG = """
[endpoints]
use = ["azure-openai", "openrouter", "groq", "ollama"]

[[endpoints.own]]
host = "llm.example"
path = "/own/chat/completions"
api = "chat"

[models]
"my-deployment" = "haiku"
"""
NOT_IN_USE = "api.mistral.ai"
HELLO: Any = [user("My name is Ivo. (hosts)")]
ASKS: Any = [user("What is my name?")]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    home = tmp_path_factory.mktemp("hosts")
    config = home / "config.toml"
    config.write_text(CONFIG)
    with running_proxy(home, api.url, options={"config": str(config)}) as proxy:
        yield proxy
        # Tests of one file may be shared out: each process that runs some has a proxy of its own.
        assert proxy.connected_hosts() <= {"127.0.0.1", NOT_IN_USE}


def gpt(proxy: Proxy, url: str, chat: str) -> openai.OpenAI:
    client = openai.DefaultHttpxClient(proxy=proxy.url, verify=proxy.tls(), trust_env=False)
    return openai.OpenAI(
        api_key="k",
        base_url=url,
        max_retries=0,
        http_client=client,
        default_headers={"X-SessionBridge-Session": chat},
    )


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://openrouter.ai/api/v1", "anthropic/claude-sonnet-4.5"),
        ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile"),
        ("https://me.openai.azure.com/openai/v1/", "gpt-4o"),
        ("http://localhost:11434/v1", "llama3.2:latest"),
        ("https://llm.example/own", "openrouter/auto"),
    ],
)
def test_a_conversation_at_any_of_them(hosts: Proxy, url: str, model: str) -> None:
    with gpt(hosts, url, url) as client:
        client.chat.completions.create(model=model, messages=HELLO)
        completion = client.chat.completions.create(model=model, messages=ASKS)
        assert completion.choices[0].message.content == "Your name is Ivo."
        assert completion.model.startswith("claude-")


def test_responses_and_messages_where_they_are_spoken(hosts: Proxy) -> None:
    with gpt(hosts, "https://openrouter.ai/api/v1", "router-responses") as client:
        client.responses.create(model="openrouter/auto", input="My name is Ugo. (hosts)")
        response = client.responses.create(model="openrouter/auto", input="What is my name?")
        assert response.output_text == "Your name is Ugo."
    with anthropic.Anthropic(
        auth_token="k",
        base_url="https://openrouter.ai/api",
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(
            proxy=hosts.url, verify=hosts.tls(), trust_env=False
        ),
        default_headers={"X-SessionBridge-Session": "router-responses"},
    ) as claude:
        answer = claude.messages.create(model="openrouter/auto", max_tokens=9, messages=ASKS)
        assert said(answer) == "Your name is Ugo."


def test_a_deployment_of_azures(hosts: Proxy) -> None:
    """The official client names the model in the path and in the body; others in the path alone."""
    headers = {"X-SessionBridge-Session": "azure"}
    with openai.AzureOpenAI(
        api_key="azure-key",
        azure_endpoint="https://me.openai.azure.com",
        api_version="2024-10-21",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(proxy=hosts.url, verify=hosts.tls(), trust_env=False),
        default_headers=headers,
    ) as azure:
        completion = azure.chat.completions.create(model="my-deployment", messages=HELLO)
        assert "haiku" in completion.model
        response = azure.responses.create(model="my-deployment", input="What is my name?")
        assert response.output_text == "Your name is Ivo."
    answered = hosts.http(headers=headers | {"api-key": "azure-key"}).post(
        "https://me.openai.azure.com/openai/deployments/my-deployment/chat/completions",
        params={"api-version": "2024-10-21"},
        json={"messages": ASKS},
    )
    assert "haiku" in answered.json()["model"]
    assert answered.json()["choices"][0]["message"]["content"] == "Your name is Ivo."
    nameless = hosts.http(headers=headers).post(
        "https://me.openai.azure.com/openai/v1/chat/completions", json={"messages": ASKS}
    )
    assert nameless.status_code == 400 and nameless.json()["error"]["param"] == "model"


def test_hosts_that_are_not_switched_on_pass(hosts: Proxy) -> None:
    """To a server, which no test may really be connected to."""
    answered = hosts.http().post(
        f"http://{NOT_IN_USE}/v1/chat/completions",
        headers={"X-SessionBridge-Session": "mistral"},
        json={"model": "m", "messages": HELLO},
    )
    assert answered.status_code == 502
    assert NOT_IN_USE in hosts.connected_hosts()
