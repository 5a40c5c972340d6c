"""Under mitmproxy's `stream_large_bodies`, which sends a large body on as it comes."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.raw_upstream import raw_upstream
from tests.support.scripted_api import ScriptedServer, user

FILLER = " ".join(sha256(bytes([n])).hexdigest() for n in range(100))
"""Large also when it is compressed."""
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    option = ("--set", "stream_large_bodies=1k")
    with running_proxy(tmp_path_factory.mktemp("streaming"), api.url, *option) as proxy:
        yield proxy


def body(name: str) -> bytes:
    """The conversation is named here alone."""
    asked = [user(FILLER), {"role": "assistant", "content": "Go on."}, user("My name is Fay.")]
    return json.dumps({"model": "gpt-5", "messages": asked, "session_id": name}).encode()


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("form", ["whole", "in chunks", "compressed", "compressed, in chunks"])
def test_a_conversation_that_is_named_in_its_body_is_bridged(
    streaming: Proxy, form: str, http2: bool
) -> None:
    name = f"body-{form.replace(', ', '-').replace(' ', '-')}-{int(http2)}"
    headers, content = {"content-type": "application/json"}, body(name)
    if "compressed" in form:
        headers["content-encoding"], content = "gzip", gzip.compress(content)
    pieces = (content[at : at + 700] for at in range(0, len(content), 700))
    answer = streaming.http(http2=http2).post(
        "https://api.openai.com/v1/chat/completions",
        headers=headers,
        content=pieces if "chunks" in form else content,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "Your name is Fay."
    assert streaming.bridged(name, 1)
    assert streaming.connected_hosts() == {"127.0.0.1"}


def connections(proxy: Proxy) -> list[Any]:
    return [line for line in proxy.recorded() if "server_connect" in line]


def test_what_is_not_for_us_is_streamed_as_the_option_says(streaming: Proxy) -> None:
    before = len(connections(streaming))
    with raw_upstream(ANSWER) as upstream:
        target = f"http://127.0.0.1:{upstream.port}/upload"
        head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += "X-SessionBridge-Session: chat\r\nContent-Length: 5000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", streaming.ports[0]), timeout=20) as client:
            client.sendall(head.encode() + b"x" * 2000)
            wait_for(lambda: len(connections(streaming)) > before, "the server to be asked")
            client.sendall(b"x" * 3000)
            with client.makefile("rb") as answer:
                assert answer.read(len(ANSWER)).endswith(b"ok")
        (received,) = upstream.received
    assert received.endswith(b"x" * 5000)
