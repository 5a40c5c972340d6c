"""Heads of requests that no client of these APIs sends: each is answered in the API's own words,
and is never a fault of the bridge."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer

BODY = b'{"model": "sonnet", "max_tokens": 9, "messages": [{"role": "assistant", "content": "x"}]}'
NAMED = b"X-SessionBridge-Session: a\r\n"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    home = tmp_path_factory.mktemp("proxy")
    mode = ("--mode", f"reverse:{api.url}@0")
    with running_proxy(home, api.url, *mode, recorded=False) as running:
        yield running


def answered(
    proxy: Proxy, headers: bytes, body: bytes = BODY, path: bytes = b""
) -> tuple[int, str]:
    """The status, and what the error says."""
    head = b"POST /v1/messages" + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=30) as client:
        client.sendall(head + headers + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    status, _, said = answer.partition(b"\r\n\r\n")
    document = json.loads(said)
    assert document["type"] == "error"
    return int(status.split()[1]), document["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Any: caf\xe9\r\n",
        b"User-Agent: \xff\r\n",
        b"Authorization: Bearer \xff\r\nX-Api-Key: \xff\r\n",
        b"Idempotency-Key: \xff\r\n",
        b"X-Stainless-Retry-Count: \xc2\xb2\r\n",
        b"X-Claude-Code-Session-Id: \xff\r\n",
        b"X-Folded: one\r\n two\r\n",
        b"".join(b"X-Any-%d: a\r\n" % number for number in range(2000)),
    ],
    ids=["any", "agent", "keys", "retry", "count", "session", "folded", "many"],
)
def test_what_nobody_reads_does_not_matter(proxy: Proxy, headers: bytes) -> None:
    status, said = answered(proxy, NAMED + headers)
    assert status == 400 and said.startswith("messages.0.role: the last message must be the user's")


@pytest.mark.parametrize(
    ("headers", "status", "sentence"),
    [
        (
            b"X-SessionBridge-Session: caf\xe9\r\n",
            400,
            "header x-sessionbridge-session is not",
        ),
        (NAMED + b"Content-Encoding: \xff\r\n", 415, "content-encoding: this value is not known"),
        (NAMED + b"Content-Encoding: gzip\r\n", 400, "is not gzip, as its content-encoding says"),
        (NAMED + b"X-Any: a\x01b\r\n", 400, "The header 'X-Any' holds a control character"),
        (NAMED + b"X-Any: " + b"a" * 70_000 + b"\r\n", 431, "at most 64,512 are taken"),
        (NAMED + b"X-Any: %s\r\n" % (b"a" * 900) * 80, 431, "at most 64,512 are taken"),
    ],
    ids=["session", "coding", "broken", "control", "long", "many"],
)
def test_what_cannot_be_taken_is_refused_in_the_api_s_words(
    proxy: Proxy, headers: bytes, status: int, sentence: str
) -> None:
    told, said = answered(proxy, headers)
    assert told == status and sentence in said


def test_a_long_address_is_a_part_of_the_head(proxy: Proxy) -> None:
    told, said = answered(proxy, NAMED, path=b"?a=" + b"b" * 70_000)
    assert told == 431 and "at most 64,512 are taken" in said
