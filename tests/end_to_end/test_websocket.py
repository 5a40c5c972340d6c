"""The Responses API on a WebSocket, by the official client for Python, in two modes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.resources.responses.responses import AsyncResponsesConnection, ResponsesConnection
from websockets.sync.client import ClientConnection, connect

from tests.end_to_end.test_end_to_end import rows
from tests.support.proxy import Proxy, free_port, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer

MODEL = "gpt-5"
ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    modes = ("--mode", f"reverse:https://api.openai.com@{free_port()}", "--mode", "regular@0")
    with running_proxy(tmp_path_factory.mktemp("proxy"), api.url, *modes) as running:
        # The one with a port of its own choice may be there first.
        reverse = int(modes[1].rpartition("@")[2])
        ports = sorted(running.ports, key=lambda port: port != reverse)
        yield replace(running, ports=ports)


@contextmanager
def opened(proxy: Proxy, headers: dict[str, str], path: str = "/v1/responses") -> Any:
    """A WebSocket on which anything can be sent."""
    url = f"ws://127.0.0.1:{proxy.ports[0]}{path}"
    with connect(url, proxy=None, additional_headers=headers, max_size=None) as socket:
        yield socket


def named(name: str) -> dict[str, str]:
    return {"x-sessionbridge-session": name}


def create(asked: Any, **more: Any) -> str:
    return json.dumps({"type": "response.create", "model": MODEL, "input": asked, **more})


def heard(socket: ClientConnection) -> list[dict[str, Any]]:
    """The events up to the one that ends a response."""
    events = [json.loads(socket.recv(timeout=30))]
    while events[-1]["type"] not in ENDS:
        events.append(json.loads(socket.recv(timeout=30)))
    return events


def said(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", []))


def turns(proxy: Proxy, name: str) -> list[dict[str, Any]]:
    return rows(proxy, f"SELECT * FROM turns WHERE external_id = '{name}' ORDER BY id")


def test_the_official_client_goes_on_by_the_id_of_a_response(proxy: Proxy) -> None:
    with openai.OpenAI(api_key="sk-client", base_url=f"{proxy.url}/v1") as client:
        connection = client.responses.connect(
            extra_headers=named("reverse"), websocket_connection_options={"proxy": None}
        ).enter()
        connection.response.create(model=MODEL, input="My name is Bob.", store=False)
        events = list(until_end(connection))
        assert [event.type for event in events][:2] == ["response.created", "response.in_progress"]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        first = events[-1].response
        assert first.output_text == "Nice to meet you, Bob!" and first.store is False
        connection.response.create(
            model=MODEL, input="What is my name?", previous_response_id=first.id, store=False
        )
        assert list(until_end(connection))[-1].response.output_text == "Your name is Bob."
        connection.close()
    check_two_turns(proxy, "reverse")


async def test_so_does_the_asynchronous_one_in_regular_mode(proxy: Proxy) -> None:
    """Not the other, which over TLS lost a handshake in some hundreds (measured with websockets
    15.0.1 and Python 3.13.0; this one none in 1,600)."""
    options: Any = {"proxy": f"http://127.0.0.1:{proxy.ports[1]}", "ssl": proxy.tls()}
    async with (
        openai.AsyncOpenAI(api_key="sk-client") as client,
        client.responses.connect(
            extra_headers=named("regular"), websocket_connection_options=options
        ) as connection,
    ):
        asked: dict[str, Any] = {"model": MODEL, "store": False}
        await connection.response.create(input="My name is Bob.", **asked)
        said = [event async for event in ended(connection)]
        assert said[-1].response.output_text == "Nice to meet you, Bob!"
        previous = said[-1].response.id
        await connection.response.create(
            input="What is my name?", previous_response_id=previous, **asked
        )
        said = [event async for event in ended(connection)]
        assert said[-1].response.output_text == "Your name is Bob."
    await asyncio.to_thread(check_two_turns, proxy, "regular")


def check_two_turns(proxy: Proxy, name: str) -> None:
    (flow,) = proxy.bridged(name, 1)
    told = flow["metadata"]
    assert (flow["status"], told["turns"], told["plan"], told["reason"]) == (
        (101, 2, "resume", "continued")
    )
    assert told["process"] == "live" and flow["comment"].startswith("2 turns · $0.")
    assert flow["url"].endswith("api.openai.com/v1/responses")
    assert proxy.connected_hosts() <= {"127.0.0.1"}


async def ended(connection: AsyncResponsesConnection) -> AsyncIterator[Any]:
    async for event in connection:
        yield event
        if event.type in ENDS:
            return


def until_end(connection: ResponsesConnection) -> Iterator[Any]:
    for event in connection:
        yield event
        if event.type in ENDS:
            return


def test_each_turn_is_in_the_ledger(proxy: Proxy) -> None:
    with opened(proxy, named("ledger")) as socket:
        for text in ("My name is Ada.", "What is my name?"):
            socket.send(create(text))
            assert heard(socket)[-1]["type"] == "response.completed"
    (flow,) = proxy.bridged("ledger", 1)
    kept = turns(proxy, "ledger")
    assert [turn["api"] for turn in kept] == ["responses", "responses"]
    assert [turn["reason"] for turn in kept] == ["first_turn", "appended"]
    told = flow["metadata"]
    assert told["turn"] == kept[-1]["id"]
    assert told["cost_usd"] == pytest.approx(sum(turn["cost_usd"] for turn in kept))
    assert told["usage"]["output_tokens"] == sum(turn["output_tokens"] for turn in kept)
    assert "TICKET" not in str(flow["headers"]).upper()


def test_frames_of_one_lane_are_answered_in_order_and_lanes_side_by_side(
    proxy: Proxy, api: ScriptedServer
) -> None:
    with opened(proxy, {"x-client-request-id": "lanes", "user-agent": "codex"}) as socket:
        first = {"stream_id": "a", "prompt_cache_key": "lane-a"}
        socket.send(create("One. [gate lanes]", **first))
        api.wait_until_held("lanes")
        socket.send(create("Two. (lanes)", **first))
        socket.send(create("Three.", stream_id="b", prompt_cache_key="lane-b"))
        events: list[Any] = []
        while not events or events[-1]["type"] != "response.completed":
            events.append(json.loads(socket.recv(timeout=30)))
        assert events[-1]["stream_id"] == "b" and api.heard("Two. (lanes)") == []
        api.open_gate("lanes")
        ended = [heard(socket)[-1], heard(socket)[-1]]
    assert [end["stream_id"] for end in ended] == ["a", "a"]
    assert len(api.heard("Two. (lanes)")) == 1


def test_what_runs_can_be_cancelled(proxy: Proxy, api: ScriptedServer) -> None:
    with opened(proxy, named("cancelled")) as socket:
        socket.send(create("My name is Eve. [gate cancelled]"))
        api.wait_until_held("cancelled")
        events = [json.loads(socket.recv(timeout=30)) for _ in range(3)]
        socket.send(json.dumps({"type": "response.cancel"}))
        end = heard(socket)[-1]
        assert (end["type"], end["response"]["status"]) == ("response.incomplete", "cancelled")
        assert end["response"]["id"] == events[0]["response"]["id"]
        socket.send(json.dumps({"type": "response.cancel"}))
        assert heard(socket)[-1]["error"]["code"] == "response_cancel_not_active"
        socket.send(create("What is my name?"))
        assert said(heard(socket)[-1]["response"]) == "I do not know your name yet."
    statuses = [turn["status"] for turn in turns(proxy, "cancelled")]
    assert statuses[-1:] == ["end_turn"] and "end_turn" not in statuses[:-1]


def test_a_client_that_leaves_stops_its_turn(proxy: Proxy, api: ScriptedServer) -> None:
    with opened(proxy, named("left")) as socket:
        socket.send(create("My name is Max. [gate left]"))
        api.wait_until_held("left")
    proxy.bridged("left", 1)
    with opened(proxy, named("left")) as socket:
        socket.send(create("What is my name?"))
        assert said(heard(socket)[-1]["response"]) == "I do not know your name yet."
    assert not [turn for turn in turns(proxy, "left")[:-1] if turn["status"] == "end_turn"]


def test_a_turn_that_is_only_announced_asks_no_model(proxy: Proxy, api: ScriptedServer) -> None:
    ahead = [
        {"role": "user", "content": "My name is Kim. (ahead)"},
        {"role": "assistant", "content": "Hello."},
    ]
    before = set(proxy.children())
    with opened(proxy, named("ahead")) as socket:
        socket.send(create(ahead, generate=False))
        events = heard(socket)
        assert [event["type"] for event in events] == [
            "response.created",
            "response.in_progress",
            "response.completed",
        ]
        end = events[-1]["response"]
        assert (end["output"], end["usage"]["total_tokens"]) == ([], 0)
        assert api.heard("(ahead)") == []
        socket.send(create("What is my name?", previous_response_id=end["id"]))
        end = heard(socket)[-1]["response"]
        assert said(end) == "Your name is Kim."
        (process,) = set(proxy.children()) - before
        os.kill(process, signal.SIGKILL)
        wait_for(lambda: process not in proxy.children() or None, "its end")
        socket.send(create([], generate=False, previous_response_id=end["id"]))
        end = heard(socket)[-1]["response"]
        wait_for(lambda: set(proxy.children()) - before or None, "the process for what comes")
        socket.send(create("Who am I?", previous_response_id=end["id"]))
        assert said(heard(socket)[-1]["response"]) == "Your name is Kim."
    told = proxy.bridged("ahead", 1)[0]["metadata"]
    assert (told["turns"], told["process"]) == (2, "live")


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        (b"\x00\x01", None, "text frames"),
        ("{", None, "must be JSON (line 1"),
        ("[]", None, "must be an object"),
        ("{}", None, "type: must be response.create or response.cancel"),
        ('{"type": "response.steer"}', None, "type: must be"),
        (create("hi", stream_id="a b"), "invalid_stream_id", "stream_id: must be"),
        (create("hi", background=True), None, "background: must be false"),
        (create([], generate=7), None, "input: must hold a message"),
        (create("hi", previous_response_id="resp_no"), "previous_response_not_found", "no longer"),
        (create("hi", prompt_cache_key="a", metadata=[1] * 1_000_001), None, "1,000,000 values"),
    ],
)
def test_what_is_wrong_with_a_frame_is_told_and_the_next_is_answered(
    errors: ClientConnection, frame: str | bytes, code: str | None, words: str
) -> None:
    errors.send(frame)
    (told,) = heard(errors)
    assert (told["type"], told["status"], told["error"]["code"]) == ("error", 400, code)
    assert words in told["error"]["message"]


def test_an_error_of_the_model_is_told_with_its_status(errors: ClientConnection) -> None:
    errors.send(create("[fail 429]", stream_id="limited"))
    (told,) = heard(errors)
    assert (told["status"], told["stream_id"]) == (429, "limited")
    assert told["error"]["type"] == "rate_limit_error"
    errors.send(create("[break]", stream_id="limited"))
    end = heard(errors)[-1]
    assert (end["type"], end["response"]["status"]) == ("response.failed", "failed")


@pytest.fixture(scope="module")
def errors(proxy: Proxy) -> Iterator[ClientConnection]:
    """One WebSocket for all of them, so that each has outlived the one before."""
    with opened(proxy, named("errors")) as socket:
        yield socket


def test_there_are_so_many_lanes_and_so_many_that_wait(proxy: Proxy, api: ScriptedServer) -> None:
    with opened(proxy, named("many")) as socket:
        socket.send(create("[gate many]"))
        api.wait_until_held("many")
        for number in range(33):
            socket.send(create([], stream_id=f"lane-{number}", generate=False))
        ends = [heard(socket) for _ in range(33)]
        (refused,) = [end[0] for end in ends if end[0]["type"] == "error"]
        assert refused["error"]["code"] == "websocket_stream_limit_reached"
        assert refused["stream_id"] == "lane-32"
        for _ in range(64):
            socket.send(create([], generate=False))
        (busy,) = heard_error(socket)
        assert busy["status"] == 429 and "64 responses" in busy["error"]["message"]
        api.open_gate("many")
        for _ in range(64):
            assert heard(socket)[-1]["type"] == "response.completed"


def heard_error(socket: ClientConnection) -> list[dict[str, Any]]:
    """Behind the first events of a response under way."""
    return [event for event in heard(socket) if event["type"] == "error"]


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"origin": "https://elsewhere.example"}, 403, "web pages of other hosts"),
        ({"x-sessionbridge-session": "a\x7f"}, 400, "control character"),
        ({"x-sessionbridge-child": "another"}, 403, "is not bridged again"),
        ({"host": "rebound.example"}, 403, "is not what this proxy is known as"),
    ],
)
def test_who_may_not_ask_by_post_may_not_open_a_websocket(
    proxy: Proxy, headers: dict[str, str], status: int, words: str
) -> None:
    answer = upgrade(proxy, {**named("guarded"), **headers})
    assert answer.status_code == status and words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "header",
    [
        {"sec-websocket-version": "8"},
        {"sec-websocket-key": ""},
        {"upgrade": "h2c, websocket"},
        {"connection": "close"},
    ],
    ids=str,
)
def test_an_upgrade_that_is_none_is_told_what_it_lacks(
    proxy: Proxy, header: dict[str, str]
) -> None:
    answer = upgrade(proxy, {**named("old"), **header})
    assert answer.status_code == 426 and "Version: 13" in answer.json()["error"]["message"]


def upgrade(proxy: Proxy, headers: dict[str, str], path: str = "/v1/responses") -> httpx.Response:
    """What is answered to an upgrade that is refused."""
    asked = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with httpx.Client(base_url=proxy.url, trust_env=False, timeout=30) as client:
        return client.get(path, headers=asked | headers)


def test_a_proxy_that_ends_lets_the_turn_end_and_begins_none(
    tmp_path: Path, api: ScriptedServer
) -> None:
    mode = ("--mode", "reverse:https://api.openai.com@0")
    with (
        running_proxy(tmp_path, api.url, *mode) as ending,
        opened(ending, named("ending")) as running,
        opened(ending, named("idle")) as idle,
    ):
        running.send(create("My name is Zoe. [gate ending]"))
        api.wait_until_held("ending")
        ending.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Ending when the turns" in ending.log, "the proxy to be ending")
        idle.send(create("What is my name?"))
        (refused,) = heard(idle)
        assert refused["status"] == 503 and "shutting down" in refused["error"]["message"]
        api.open_gate("ending")
        assert heard(running)[-1]["type"] == "response.completed"
        assert ending.process.wait(20) == 0
