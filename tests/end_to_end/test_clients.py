"""Clients at a real proxy: each has conversations of its own, and nothing is kept of a token."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from click.testing import CliRunner
from websockets.sync.client import connect

from sessionbridge.cli.main import cli
from sessionbridge.client_tokens import PREFIX
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer, user

NAMED = {"x-sessionbridge-session": "shared"}
MESSAGES = "/v1/messages"


class Bridge:
    """In reverse mode, where a token stands in the place of a key, and as a proxy."""

    def __init__(self, proxy: Proxy, ports: tuple[int, int]) -> None:
        self.proxy = proxy
        self.url, self.address = (f"127.0.0.1:{port}" for port in ports)
        self.tokens: list[str] = []

    def command(self, *arguments: str, group: str = "clients") -> Any:
        home = str(self.proxy.database.parent)
        done = CliRunner().invoke(cli, ["--home", home, group, *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def whose(self, id_: str) -> list[str | None]:
        """The clients whose conversations are listed under this id."""
        listed = json.loads(self.command("list", "--json", group="sessions"))
        return [row["client"] for row in listed if row["external_id"] == id_]

    def token(self, command: str, name: str) -> str:
        told: str = json.loads(self.command(command, name, "--json"))["token"]
        self.tokens.append(told)
        return told

    def ask(
        self, text: str, token: str = "", path: str = MESSAGES, **headers: str
    ) -> httpx.Response:
        body = {"model": "sonnet", "max_tokens": 99, "messages": [user(text)]}
        told = {**NAMED, **({"x-api-key": token} if token else {}), **headers}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.post(f"http://{self.url}{path}", json=body, headers=told)

    def ask_by_proxy(self, text: str, user_info: str) -> httpx.Response:
        body = {"model": "sonnet", "max_tokens": 99, "messages": [user(text)]}
        proxy = f"http://{user_info}@{self.address}"
        tls = self.proxy.tls()
        with httpx.Client(proxy=proxy, verify=tls, trust_env=False, timeout=30) as client:
            return client.post(f"https://api.anthropic.com{MESSAGES}", json=body, headers=NAMED)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Bridge]:
    """At its end nothing that the proxy has written holds a secret of any token."""
    home = tmp_path_factory.mktemp("clients")
    ports = free_port(), free_port()
    modes = (
        *("--mode", f"reverse:https://api.anthropic.com@{ports[0]}"),
        *("--mode", f"regular@{ports[1]}"),
    )
    flows = ("-w", str(home / "flows"), "--set", "flow_detail=4")
    with running_proxy(home, api.url, *modes, *flows, options={"retries": "0"}) as proxy:
        made = Bridge(proxy, ports)
        # Whichever tests this process runs, there is one to be looked for.
        assert made.ask("Hello.", made.token("add", "kim")).status_code == 200
        yield made
    for file in written(home):
        held = file.read_bytes()
        assert not [token for token in made.tokens if token[-30:].encode() in held], file
    assert b"x-sessionbridge-session" in (home / "flows").read_bytes()


def written(home: Path) -> list[Path]:
    found = [file for file in home.rglob("*") if file.is_file() and "mitm" not in file.parts]
    assert {"flows", "session_map.db"} <= {file.name for file in found}
    return found


def text(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"][0]["text"])


def refusal(answer: httpx.Response) -> tuple[int, str]:
    document = answer.json()
    assert document["type"] == "error"
    return answer.status_code, document["error"]["message"]


def test_one_id_is_a_conversation_for_each(bridge: Bridge) -> None:
    ann, bob = bridge.token("add", "ann"), bridge.token("add", "bob")
    assert text(bridge.ask("My name is Ann.", ann)) == "Nice to meet you, Ann!"
    assert text(bridge.ask("My name is Bob.", bob)) == "Nice to meet you, Bob!"
    assert text(bridge.ask("My name is Eve.")) == "Nice to meet you, Eve!"
    for name, token in (("Ann", ann), ("Bob", bob), ("Eve", "")):
        assert text(bridge.ask("What is my name?", token)) == f"Your name is {name}."
    # By whatever way it comes, and in the address of a proxy once for all requests.
    assert text(bridge.ask("What is my name?", **{"authorization": f"Bearer {ann}"})).endswith(
        "Ann."
    )
    assert text(bridge.ask_by_proxy("What is my name?", f"bob:{bob}")) == "Your name is Bob."
    with closing(sqlite3.connect(bridge.proxy.database)) as db:
        sql = "SELECT scope, client, count(*) FROM turns WHERE coalesce(client, '') IN (?, ?, '')"
        found = db.execute(f"{sql} GROUP BY 1, 2 ORDER BY 1", ("ann", "bob"))
        assert found.fetchall() == [
            ("ann:sessionbridge", "ann", 3),
            ("bob:sessionbridge", "bob", 3),
            ("sessionbridge", None, 2),
        ]


def test_rotated_and_revoked(bridge: Bridge) -> None:
    first = bridge.token("add", "cid")
    assert text(bridge.ask("My name is Cid.", first)) == "Nice to meet you, Cid!"
    second = bridge.token("rotate", "cid")
    status, message = refusal(bridge.ask("What is my name?", first))
    assert (status, "none of a client" in message) == (401, True)
    assert text(bridge.ask("What is my name?", second)) == "Your name is Cid."
    bridge.command("revoke", "cid")
    status, message = refusal(bridge.ask("What is my name?", second))
    assert (status, "cid was revoked" in message) == (401, True)


def test_in_an_address_and_two_that_disagree(bridge: Bridge) -> None:
    token, other = bridge.token("add", "dan"), bridge.token("add", "dora")
    status, message = refusal(bridge.ask("Hi", path=f"{MESSAGES}?key={token}"))
    assert (status, "rotate it" in message) == (400, True)
    status, message = refusal(bridge.ask("Hi", token, **{"x-sessionbridge-token": other}))
    assert (status, "two tokens" in message) == (401, True)


def test_responses_of_others_are_not_found(bridge: Bridge, tmp_path: Path) -> None:
    ann, bob = bridge.token("add", "una"), bridge.token("add", "uwe")

    def client(token: str) -> openai.OpenAI:
        http = openai.DefaultHttpxClient(trust_env=False)
        url = f"http://{bridge.url}/v1"
        return openai.OpenAI(api_key=token, base_url=url, http_client=http, max_retries=0)

    with client(ann) as hers, client(bob) as his:
        extra = {"x-sessionbridge-session": "kept"}
        given = hers.responses.create(model="gpt-5", input="My name is Una.", extra_headers=extra)
        assert hers.responses.retrieve(given.id, extra_headers=extra).id == given.id
        for headers in (extra, {}):
            with pytest.raises(openai.NotFoundError):
                his.responses.retrieve(given.id, extra_headers=headers)
            with pytest.raises(openai.BadRequestError):
                his.responses.create(
                    model="gpt-5",
                    input="Who am I?",
                    previous_response_id=given.id,
                    extra_headers=headers,
                )
        conversation = hers.conversations.create(extra_headers=extra)
        with pytest.raises(openai.NotFoundError):
            his.conversations.retrieve(conversation.id)
        assert hers.conversations.retrieve(conversation.id).id == conversation.id
        for said, answered in (
            ("My name is Una.", "Nice to meet you, Una!"),
            ("What is my name?", "Your name is Una."),
        ):
            told = hers.responses.create(model="gpt-5", input=said, conversation=conversation.id)
            assert told.output_text == answered
        assert bridge.whose(conversation.id) == ["una"]
        hers.conversations.delete(conversation.id)
        assert bridge.whose(conversation.id) == []


def test_a_websocket_is_its_clients_until_that_is_revoked(bridge: Bridge) -> None:
    token = bridge.token("add", "wes")
    headers = {**NAMED, "authorization": f"Bearer {token}"}
    url = f"ws://{bridge.url}/v1/responses"

    def last(socket: Any, said: str) -> dict[str, Any]:
        socket.send(json.dumps({"type": "response.create", "model": "gpt-5", "input": said}))
        event: dict[str, Any] = {"type": ""}
        while event["type"] not in ("response.completed", "error"):
            event = json.loads(socket.recv(timeout=30))
        return event

    with connect(url, proxy=None, additional_headers=headers) as socket:
        assert last(socket, "My name is Wes.")["type"] == "response.completed"
        bridge.command("revoke", "wes")
        refused = last(socket, "What is my name?")
    assert refused["status"] == 401
    assert "wes was revoked" in refused["error"]["message"]


def test_wrong_ones_are_counted(bridge: Bridge) -> None:
    assert refusal(bridge.ask("Hi", f"{PREFIX}00000000-{'x' * 43}"))[0] == 401
    metrics = httpx.get(f"http://{bridge.url}/.sessionbridge/metrics", trust_env=False).text
    assert 'sessionbridge_errors_total{error="Unauthorized"}' in metrics
