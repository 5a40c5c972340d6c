"""Nothing a client has said is left anywhere by requests that fail: words are planted wherever a
request has room for them, and looked for in all that the proxy writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.claude_cli import fake_cli
from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer, user

CANARY = "CANARY-4711"
WORDS = f"{CANARY} in private words"
SECRETS = (CANARY, "private words")
ANTHROPIC, OPENAI = "https://api.anthropic.com/v1", "https://api.openai.com/v1"
URLS = {
    "messages": f"{ANTHROPIC}/messages",
    "chat": f"{OPENAI}/chat/completions",
    "responses": f"{OPENAI}/responses",
}


def tool(**schema: Any) -> dict[str, Any]:
    return {"tools": [{"name": "look", "description": WORDS, "input_schema": schema}]}


def image(url: str) -> dict[str, Any]:
    block = {"type": "image", "source": {"type": "url", "url": url}}
    return {"messages": [{"role": "user", "content": [block]}]}


def answer_schema(schema: Any) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def result(id_: str) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": id_, "content": WORDS}
    return {"messages": [{"role": "user", "content": [block]}]}


# What is put into a request that is otherwise in order, and the status it is answered with.
FAILING: dict[str, tuple[dict[str, Any] | bytes, int]] = {
    "the API's error": ({"messages": [user(f"[fail 500] {WORDS}")]}, 500),
    "the API's refusal of the key": ({"messages": [user(f"[fail 401] {WORDS}")]}, 401),
    "a stream that breaks": ({"messages": [user(f"[break] {WORDS}")], "stream": True}, 200),
    "no JSON": (f'{{"model": "{WORDS}'.encode(), 400),
    "no UTF-8": (f'{{"model": "{WORDS}'.encode("utf-16"), 400),
    "a role": ({"messages": [{"role": WORDS, "content": WORDS}]}, 400),
    "a type of block": ({"messages": [{"role": "user", "content": [{"type": WORDS}]}]}, 400),
    "a model": ({"model": f"{WORDS}\n"}, 200),
    "a field": ({WORDS: WORDS}, 200),
    "properties": (tool(type="object", properties={"at": WORDS}), 400),
    "required": (tool(type="object", required=WORDS), 400),
    "definitions": (tool(type="object", **{"$defs": WORDS}), 400),
    "a schema's type": (tool(type=WORDS), 400),
    "the answer's schema": (answer_schema({"type": WORDS}), 400),
    "the answer's reference": (answer_schema({"$ref": f"#/$defs/{WORDS}"}), 400),
    "a result of no call": (result(WORDS), 400),
    "a URL nobody may read": (image(f"http://127.0.0.1:1/{CANARY}?key={CANARY}"), 400),
    "a URL that is none": (image(f"http://[{CANARY}"), 400),
    "nothing to ask": ({"messages": [], "system": WORDS}, 400),
}


def left_by(proxy: Proxy) -> dict[str, str]:
    """All that is kept of requests, but the flows' own bodies and headers."""
    noted = [(flow["comment"], flow["metadata"], flow["error"]) for flow in proxy.flows()]
    files = [file for file in proxy.home.glob("bridge/**/*") if file.is_file()]
    return {
        "log": proxy.log,
        "metadata": json.dumps(noted),
        **{str(file): file.read_bytes().decode("latin-1") for file in files},
    }


def check(proxy: Proxy, flows: int) -> None:
    wait_for(lambda: len(proxy.flows()) >= flows, "the flows to end")
    told = left_by(proxy).items()
    assert [place for place, text in told if any(secret in text for secret in SECRETS)] == []


def sent(proxy: Proxy, api: str, session: str, body: Mapping[str, Any] | bytes) -> Any:
    headers = {
        "x-openclaw-session": session,
        "x-api-key": f"sk-ant-{CANARY}",
        "authorization": f"Bearer {CANARY}",
        "cookie": CANARY,
        "content-type": "application/json",
    }
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return proxy.http().post(URLS[api], headers=headers, content=content)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    home = tmp_path_factory.mktemp("proxy")
    with running_proxy(home, api.url, options={"live": "0", "spare": "0"}) as running:
        yield running


@pytest.mark.parametrize("case", FAILING)
def test_a_request_that_fails_leaves_no_words(used: Proxy, case: str) -> None:
    change, status = FAILING[case]
    plain = {"model": "sonnet", "max_tokens": 9, "system": WORDS, "messages": [user(WORDS)]}
    flows = len(used.flows())
    response = sent(used, "messages", case, change if isinstance(change, bytes) else plain | change)
    assert response.status_code == status, response.text
    check(used, flows + 1)


@pytest.mark.parametrize("mode", ["garbage", "exit_3", "refuses"])
def test_a_cli_that_fails_leaves_no_words(tmp_path: Path, api: ScriptedServer, mode: str) -> None:
    options = {"claude": str(fake_cli(tmp_path)), "claude_env": f"FAKE_CLI={mode}", "spare": "0"}
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        for number, url in enumerate(URLS, 1):
            place = "input" if url == "responses" else "messages"
            body = {"model": "sonnet", "max_tokens": 9, place: [user(WORDS)]}
            assert sent(proxy, url, mode, body).status_code >= 500
            check(proxy, number)
