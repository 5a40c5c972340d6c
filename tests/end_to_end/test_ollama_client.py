"""Ollama's official client, as it is, at the proxy as a local API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer, user

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    mode = f"reverse:http://target.invalid:9@{free_port()}"
    options = {"upstream": "false", "unkeyed": "fingerprint"}
    home = tmp_path_factory.mktemp("ollama")
    with running_proxy(home, api.url, "--mode", mode, options=options) as proxy:
        yield proxy
        assert proxy.connected_hosts() <= {"127.0.0.1"}


@pytest.fixture
def client(server: Proxy) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url, trust_env=False, timeout=30) as client:
        yield client


def look(place: str) -> str:
    """Look at a place.

    Args:
      place: Its name.
    """
    return f"{place} is green"


def test_a_conversation_that_is_streamed(client: ollama.Client, server: Proxy) -> None:
    """The client resends it, and names it by nothing but its first message."""
    said: list[Any] = [user("My name is Oli. (ollama)")]
    for question, answer in [
        ("What is my name?", "Nice to meet you, Oli!"),
        ("And again?", "Your name is Oli."),
    ]:
        parts = list(client.chat("llama3.2:latest", said, stream=True))
        told = "".join(part.message.content or "" for part in parts)
        assert told == answer
        assert len(parts) > 2 and parts[-1].done_reason == "stop" and parts[-1].eval_count
        said += [{"role": "assistant", "content": told}, user(question)]
    with httpx.Client(trust_env=False) as plain:
        answered = plain.post(
            f"{server.url}/api/chat", json={"model": "sonnet", "messages": said}, timeout=30
        )
    assert answered.headers["content-type"] == "application/x-ndjson"
    assert answered.headers["x-sessionbridge-plan"] == "resume"
    assert answered.headers["x-sessionbridge-reason"] in ("continued", "other_settings")
    assert json.loads(answered.text.splitlines()[-1])["done"] is True


def test_the_address_may_name_it(server: Proxy) -> None:
    url = f"{server.url}/s/ollama-chat"
    with ollama.Client(host=url, trust_env=False, timeout=30) as client:
        client.chat("sonnet", [user("My name is Lia. (ollama)")])
        answer = client.chat("sonnet", [user("What is my name?")])
        assert answer.message.content == "Your name is Lia."
        assert "sonnet" in [model.model for model in client.list().models]
    (flow, *_) = server.bridged("ollama-chat", 2)
    assert flow["metadata"]["api"] == "ollama"


def test_tools_as_the_client_sends_them_back(server: Proxy) -> None:
    """It leaves the ids of calls out (0.6.3), so the calls are known by their order, and are not
    those that a process waits with."""
    with ollama.Client(host=f"{server.url}/s/ollama-tools", trust_env=False) as client:
        said: list[Any] = [
            user('[call look {"place": "Oslo"}] [call look {"place": "Rome"}] (ollama)')
        ]
        asked = client.chat("sonnet", said, tools=[look])
        made = [one.function for one in asked.message.tool_calls or ()]
        assert [(f.name, f.arguments) for f in made] == [
            ("look", {"place": "Oslo"}),
            ("look", {"place": "Rome"}),
        ]
        said.append(asked.message)
        said += [
            {"role": "tool", "tool_name": f.name, "content": look(**f.arguments)} for f in made
        ]
        answer = client.chat("sonnet", said, tools=[look])
        assert answer.message.content == "Returned: Oslo is green; Rome is green"
    reasons = [flow["metadata"]["reason"] for flow in server.bridged("ollama-tools", 2)]
    assert reasons == ["first_turn", "tools_imported"]


def test_images_thoughts_and_limits(client: ollama.Client, api: ScriptedServer) -> None:
    ask = {"role": "user", "content": "[think hm] My name is Rui. (ollama)", "images": [PIXEL]}
    answer = client.chat("sonnet", [ask], think=True, options={"num_predict": 2048, "top_k": 1})
    assert answer.message.content == "Nice to meet you, Rui!"
    assert answer.message.thinking == "hm"
    body = api.calls[-1].body
    assert body["max_tokens"] == 2048
    assert [block["type"] for block in body["messages"][0]["content"]] == ["text", "image"]


def test_an_answer_by_a_schema(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = client.chat("sonnet", [user('[structured {"n": 7}] (ollama)')], format=schema)
    assert json.loads(answer.message.content or "") == {"n": 7}


def test_what_a_client_asks_before_it_talks(client: ollama.Client, server: Proxy) -> None:
    assert {"default", "sonnet"} <= {model.model for model in client.list().models}
    assert "completion" in (client.show("sonnet").capabilities or ())
    with httpx.Client(base_url=server.url, trust_env=False) as plain:
        assert plain.get("/api/version").json()["version"]
        assert plain.get("/api/ps").status_code == 404
    with pytest.raises(ollama.ResponseError, match="model: nobody is not known") as caught:
        client.show("nobody")
    assert caught.value.status_code == 404


def test_errors(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("sonnet", [user("[fail 429] (ollama)")])
    assert caught.value.status_code == 429 and caught.value.error
    with pytest.raises(ollama.ResponseError, match=r"messages: must not be empty") as caught:
        client.chat("sonnet", [])
    assert caught.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as caught:
        list(client.chat("sonnet", [user("[break] (ollama)")], stream=True))
    assert caught.value.error
    with pytest.raises(ollama.ResponseError, match="There is nothing at this address") as caught:
        client.generate("sonnet", "Hi")
    assert caught.value.status_code == 404
