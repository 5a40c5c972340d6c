"""Requests of real programs with something in them spoiled, through the real proxy: each is
answered in its API's own form, and nothing of it ends in a fault of ours.

There is no Claude CLI behind this proxy, so that a request which is in order after all gets a 502.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.proxy import running_proxy
from tests.support.recordings import without_notes

CAPTURED = sorted((Path(__file__).parent.parent / "captured").glob("*.json"))
URLS = {
    "anthropic": "https://api.anthropic.com/v1/messages",
    "chat": "https://api.openai.com/v1/chat/completions",
    "responses": "https://api.openai.com/v1/responses",
    "ollama": "http://localhost:11434/api/chat",
}
SOME = settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.generate],  # each example is a request: the first that fails says enough
    suppress_health_check=list(HealthCheck),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [
        *("x-session-id", "x-openclaw-session", "x-goclaw-user-id", "x-sessionbridge-session"),
        *("x-sessionbridge-new", "x-stainless-retry-count", "idempotency-key", "x-conversation-id"),
        *("user-agent", "content-encoding", "content-type", "origin"),
        *("x-sessionbridge-child", "authorization", "accept", "anthropic-beta"),
    ]
)
SENDABLE = [*range(0x21, 0x7F), *range(0x80, 0x100)]
VALUES = st.lists(st.sampled_from(SENDABLE), max_size=60).map(bytes)


def recordings() -> list[tuple[str, dict[str, Any]]]:
    return [
        (url, without_notes(json.loads(file.read_text("utf-8"))["turn_1"]["body"]))
        for file in CAPTURED
        for kind, url in URLS.items()
        if kind in file.stem
    ]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(node[key], (*path, key))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("proxy")
    config = home / "config.toml"
    config.write_text('[endpoints]\nuse = ["ollama"]\n')
    options = {
        "claude": str(home / "none"),
        "config": str(config),
        "unkeyed": "stateless",
        "spare": "0",
    }
    with running_proxy(home, "http://127.0.0.1:9", options=options, recorded=False) as running:
        yield running.http()


@SOME
@given(data=st.data())
def test_a_body(client: httpx.Client, data: st.DataObject) -> None:
    url, body = copy.deepcopy(data.draw(st.sampled_from(recordings())))
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(list(places(body)) or [("model",)]))
        node = body
        for key in way:
            node = node[key]
        if data.draw(st.booleans()):
            node[last] = data.draw(JSON)
        elif isinstance(node, dict):
            del node[last]
    assert_told(client.post(url, content=json.dumps(body).encode()))


@SOME
@given(
    recorded=st.sampled_from(recordings()),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=4),
    content=st.none() | st.binary(max_size=40),
)
def test_headers_and_what_is_no_json(
    client: httpx.Client,
    recorded: tuple[str, dict[str, Any]],
    headers: list[tuple[str, bytes]],
    content: bytes | None,
) -> None:
    url, body = recorded
    sent = json.dumps(body).encode() if content is None else content
    pairs = [(name.encode(), value) for name, value in headers]
    assert_told(client.post(url, content=sent, headers=pairs))


def assert_told(answer: httpx.Response) -> None:
    assert answer.status_code in (400, 403, 404, 413, 415, 422, 502), answer.text
    assert answer.headers["content-type"] == "application/json", answer.text
    error = answer.json()["error"]
    # To Ollama an error is the sentence alone.
    sentence = error if isinstance(error, str) else error["message"]
    assert sentence.isprintable() and (isinstance(error, str) or error["type"]), error
    assert "sessionbridge." not in sentence and "Traceback" not in sentence
