"""WebSockets that are not answered here: they pass on, and no frame of ours with them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer

ASKED = {"type": "response.create", "model": "gpt-5", "input": "hi"}


class Api:
    """Stands for the real API: it says back what it is told."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.heard: list[str] = []

    def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.paths.append(socket.request.path)
        for message in socket:
            self.heard.append(str(message))
            socket.send(message)


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[Api, Server]]:
    api = Api()
    with serve(api, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield api, server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer, real: tuple[Api, Server]
) -> Iterator[Proxy]:
    port = real[1].socket.getsockname()[1]
    mode = ("--mode", f"reverse:http://127.0.0.1:{port}@{free_port()}")
    with running_proxy(tmp_path_factory.mktemp("proxy"), api.url, *mode) as running:
        yield running


def opened(proxy: Proxy, path: str = "/v1/responses", **headers: str) -> ClientConnection:
    url = f"ws://127.0.0.1:{proxy.ports[0]}{path}"
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return connect(url, proxy=None, additional_headers=names)


def answered(socket: Connection, **frame: Any) -> Any:
    socket.send(json.dumps({**ASKED, **frame}))
    return json.loads(socket.recv(timeout=20))


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=x", "/v1/other"])
def test_what_names_no_conversation_passes_on_untouched(
    proxy: Proxy, real: tuple[Api, Server], path: str
) -> None:
    text = json.dumps({**ASKED, "input": "é" * 5000})
    with opened(proxy, path) as socket:
        socket.send(text)
        assert socket.recv(timeout=20) == text
        socket.send(b"\x00\xff")
        assert socket.recv(timeout=20) == b"\x00\xff"
    assert real[0].paths[-1] == path


def test_elsewhere_a_frame_may_name_what_it_likes(proxy: Proxy) -> None:
    with opened(proxy, "/v1/realtime") as socket:
        assert answered(socket, session_id="mine") == {**ASKED, "session_id": "mine"}


@pytest.mark.parametrize("field", ["session_id", "conversation", "previous_response_id"])
def test_a_frame_that_is_ours_after_all_is_kept_back(
    proxy: Proxy, real: tuple[Api, Server], field: str
) -> None:
    with httpx.Client(base_url=proxy.url, trust_env=False, timeout=30) as client:
        body = {"model": "gpt-5", "input": "My name is Bob."}
        headers = {"x-sessionbridge-session": "kept back"}
        ours = client.post("/v1/responses", json=body, headers=headers).json()["id"]
    before = len(real[0].heard)
    with opened(proxy) as socket:
        told = answered(socket, **{field: ours}, input="secret")
        assert (told["type"], told["status"]) == ("error", 400)
        assert "it was not sent on" in told["error"]["message"]
        bad = answered(socket, session_id="a\x00b", input="secret")
        assert "control character" in bad["error"]["message"]
        assert answered(socket) == ASKED
    assert real[0].heard[before:] == [json.dumps(ASKED)]


@pytest.mark.parametrize(
    "frame",
    [
        '{"session_id": "mine", "input": "secret",}',
        '{"session_id": "mine", "input": "sec\nret"}',
        b'{"session_id": "mine", "input": "\xff"}',
        '[{"session_id": "mine", "input": "secret"}]',
    ],
    ids=["comma", "line end", "bytes", "list"],
)
def test_a_frame_that_may_be_ours_and_cannot_be_read_is_kept_back(
    proxy: Proxy, real: tuple[Api, Server], frame: str | bytes
) -> None:
    before = len(real[0].heard)
    with opened(proxy) as socket:
        socket.send(frame)
        told = json.loads(socket.recv(timeout=20))
        assert (told["type"], told["status"]) == ("error", 400)
        assert "may name a conversation" in told["error"]["message"]
        assert answered(socket) == ASKED
    assert real[0].heard[before:] == [json.dumps(ASKED)]


def test_a_websocket_with_a_name_leads_to_the_bridge(
    proxy: Proxy, real: tuple[Api, Server]
) -> None:
    """By what the client is, where it names its conversations in the frames."""
    before = len(real[0].paths)
    with opened(proxy, x_sessionbridge_session="named") as socket:
        assert answered(socket)["type"] == "response.created"
    with opened(proxy, user_agent="opencode/1.18") as socket:
        refused = answered(socket)
        assert "names no conversation" in refused["error"]["message"]
        assert answered(socket, prompt_cache_key="mine")["type"] == "response.created"
    assert len(real[0].paths) == before
