"""Turns that reach another node than the one whose process waits for them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from sessionbridge.cli.main import cli
from sessionbridge.sessions.store.places import VARIABLE
from tests.support.announcements import Announcements, listening
from tests.support.nodes import Node, running_nodes
from tests.support.postgres import Postgres
from tests.support.postgres_stores import asked
from tests.support.proxy import wait_for
from tests.support.scripted_api import ScriptedServer
from tests.support.scripted_api import user as user_says

NODE = "x-sessionbridge-node"
PASSED_ON = "x-sessionbridge-passed-on"
MESSAGES = "/v1/messages"
LONGEST = 5000
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}


class Talk:
    """A client that keeps its history, of the conversation `name`."""

    def __init__(self, client: httpx.Client, name: str, **fields: Any) -> None:
        self._client = client
        self.headers = {"x-sessionbridge-session": name}
        self.fields = {"model": "sonnet", "max_tokens": 99, **fields}
        self.messages: list[dict[str, Any]] = []
        self.session = ""

    def say(self, node: Node, content: Any) -> httpx.Response:
        self.messages.append({"role": "user", "content": content})
        answer = self._client.post(node.url + MESSAGES, json=self.body, headers=self.headers)
        assert answer.status_code == 200, answer.text
        self.session = answer.headers["x-sessionbridge-session"]
        self.messages.append({"role": "assistant", "content": answer.json()["content"]})
        return answer

    @property
    def body(self) -> dict[str, Any]:
        return {**self.fields, "messages": self.messages}

    @property
    def last(self) -> str:
        return str(self.messages[-1]["content"][0]["text"])

    @contextmanager
    def stream(self, node: Node, text: str) -> Iterator[httpx.Response]:
        self.messages.append({"role": "user", "content": text})
        body = {**self.body, "stream": True}
        url = node.url + MESSAGES
        with self._client.stream("POST", url, json=body, headers=self.headers) as answer:
            yield answer


class Place:
    """`two` is the API of the provider of this name."""

    def __init__(
        self,
        nodes: list[Node],
        told: Announcements,
        client: httpx.Client,
        database: str,
        two: ScriptedServer,
    ) -> None:
        self.nodes = nodes
        self.told = told
        self.client = client
        self.database = database
        self.two = two
        self.tokens: dict[str, str] = {}

    def command(self, *arguments: str) -> str:
        """About clients."""
        done = CliRunner().invoke(
            cli, ["clients", *arguments], env={VARIABLE: self.database}, catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    def add_client(self, name: str, *rules: str) -> None:
        self.tokens[name] = json.loads(self.command("add", name, "--json", *rules))["token"]

    def ask(self, node: Node, text: str, user: str, **who: str) -> httpx.Response:
        """Of a user whose history is kept here, by a `client` and of a `provider`."""
        headers = {"x-goclaw-user-id": user}
        if "client" in who:
            headers["x-api-key"] = self.tokens[who["client"]]
        if "provider" in who:
            headers["x-sessionbridge-provider"] = who["provider"]
        body = {"model": "sonnet", "max_tokens": LONGEST, "messages": [user_says(text)]}
        return self.client.post(node.url + MESSAGES, json=body, headers=headers)

    def sealed(self, **told: Any) -> dict[str, str]:
        """As a node of the database would."""
        made = "INSERT INTO sessionbridge.common VALUES ('node-key', %s) ON CONFLICT DO NOTHING"
        asked(self.database, made, Fernet.generate_key())
        sql = """
            SELECT value, CAST(extract(epoch FROM clock_timestamp()) AS bigint)
            FROM sessionbridge.common WHERE name = 'node-key'
        """
        ((key, now),) = asked(self.database, sql)
        content = json.dumps({"once": uuid4().hex, **told}).encode()
        return {PASSED_ON: Fernet(bytes(key)).encrypt_at_time(content, now).decode()}

    def held_by(self, node: Node, name: str, **fields: Any) -> Talk:
        """A conversation whose process waits at this node, as all know."""
        talk = Talk(self.client, name, **fields)
        talk.say(node, f"My name is Tess. ({name})")
        self.told.until_known(talk.session, node, self.nodes)
        return talk


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def place(
    postgres: Postgres, api: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("nodes")
    with (
        ScriptedServer() as two,
        postgres.database() as url,
        listening(url) as told,
        running_nodes(
            folder, api.url, url, reachable=True, live="8", config=providers(folder, two)
        ) as nodes,
        httpx.Client(timeout=60, trust_env=False) as client,
    ):
        told.settle(nodes)
        yield Place(nodes, told, client, url, two)


def providers(folder: Path, two: ScriptedServer) -> str:
    """The config of both nodes: of another account than the default one."""
    (folder / "secret").write_text("sk-ant-account-two")
    token = f'ANTHROPIC_AUTH_TOKEN = "file:{folder / "secret"}"'
    config = folder / "providers.toml"
    config.write_text(f"""
        [providers.two]
        config_dir = "~/two"
        env = {{ {token}, ANTHROPIC_BASE_URL = "{two.url}" }}
        for_clients = ["mo"]
        fallback = ["claude"]
    """)
    return str(config)


def events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def texts(answer: httpx.Response) -> Iterator[str]:
    for event in events(answer):
        if event["type"] == "content_block_delta":
            yield event["delta"]["text"]


def assert_used_alike(passed_on: dict[str, Any], answered: dict[str, Any]) -> None:
    """At the node that was asked, and at the one that has answered."""
    for name in ("usage", "cost_usd"):
        assert passed_on["metadata"][name] == answered["metadata"][name]
        assert passed_on["metadata"][name] is not None


def test_the_node_that_holds_it_answers_a_miss(place: Place) -> None:
    one, two = place.nodes
    talk = place.held_by(one, "miss")
    processes = one.proxy.children(), two.proxy.children()
    answer = talk.say(two, "Who am I? (miss)")
    assert talk.last == "Your name is Tess."
    assert answer.headers[NODE] == one.url
    assert answer.headers["x-sessionbridge-plan"] == "resume"
    assert (one.proxy.children(), two.proxy.children()) == processes
    assert PASSED_ON not in answer.headers
    (passed_on,) = two.proxy.bridged("miss", 1)
    assert passed_on["metadata"]["node"] == one.url
    assert passed_on["comment"].startswith(f"answered by {one.url} · sessionbridge · in ")
    _, answered = one.proxy.bridged("miss", 2)
    assert_used_alike(passed_on, answered)
    assert answered["metadata"]["process"] == "live"
    assert PASSED_ON not in answered["headers"]
    assert "X-SessionBridge-Session" not in answered["headers"]
    assert NODE not in talk.say(one, "And now? (miss)").headers


def test_a_stream_arrives_as_it_is_said(place: Place, api: ScriptedServer) -> None:
    one, two = place.nodes
    talk = place.held_by(one, "stream")
    with talk.stream(two, "Say it slowly. [gate passed-on]") as answer:
        assert answer.headers[NODE] == one.url
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = texts(answer)
        first = next(told)
        api.wait_until_held("passed-on")
        api.open_gate("passed-on")
        assert "".join([first, *told])
    (passed_on,) = two.proxy.bridged("stream", 1)
    _, answered = one.proxy.bridged("stream", 2)
    assert_used_alike(passed_on, answered)


def test_it_ends_there_when_the_client_leaves(place: Place, api: ScriptedServer) -> None:
    one, two = place.nodes
    before = set(one.proxy.children())
    talk = place.held_by(one, "leaves")
    (process,) = set(one.proxy.children()) - before
    with talk.stream(two, "Wait. [gate client-leaves]") as answer:
        next(texts(answer))
    wait_for(lambda: process not in one.proxy.children(), "the turn to be stopped at its node")
    api.open_gate("client-leaves")
    del talk.messages[-1]
    talk.say(two, "Who am I? (left)")
    assert talk.last == "Your name is Tess."


def test_results_of_tools_reach_the_process_that_waits_for_them(place: Place) -> None:
    one, two = place.nodes
    talk = place.held_by(one, "tools", tools=[TOOL])
    answer = talk.say(two, "Look. [call look]")
    assert answer.headers[NODE] == one.url
    (call,) = (block for block in answer.json()["content"] if block["type"] == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "a cat"}
    answer = talk.say(two, [result])
    assert answer.headers[NODE] == one.url
    assert answer.headers["x-sessionbridge-reason"] != "tools_imported"
    assert "a cat" in talk.last


def test_an_id_in_the_body_leads_there_too(place: Place) -> None:
    one, two = place.nodes

    def asked(node: Node, key: str, **body: Any) -> httpx.Response:
        whole = {"model": "sonnet", **body}
        headers = {"authorization": f"Bearer {key}"}
        return place.client.post(f"{node.url}/v1/responses", json=whole, headers=headers)

    first = asked(one, "dummy-1", input="My name is Tess. (by id)")
    place.told.until_known(first.headers["x-sessionbridge-session"], one, place.nodes)
    follows = {"previous_response_id": first.json()["id"], "input": "Who am I? (by id)"}
    answer = asked(two, "dummy-1", **follows)
    assert answer.headers[NODE] == one.url
    assert answer.json()["output"][-1]["content"][0]["text"] == "Your name is Tess."
    foreign = asked(two, "dummy-2", **follows)
    assert foreign.status_code == 400
    assert NODE not in foreign.headers


def who(answer: httpx.Response) -> tuple[str, str, str]:
    """The node that has answered instead, the provider, and what it said."""
    assert answer.status_code == 200, answer.text
    told = answer.json()["content"][0]["text"]
    return answer.headers.get(NODE, ""), answer.headers["x-sessionbridge-provider"], told


def test_clients_and_providers_are_the_same_at_every_node(place: Place) -> None:
    """One id is a conversation for each of them, also where it is passed on."""
    one, two = place.nodes
    place.add_client("ann", "--provider", "two")
    place.add_client("bob")
    everybody = [
        ("Ann", {"client": "ann"}),
        ("Una", {"client": "ann", "provider": "two"}),
        ("Bob", {"client": "bob"}),
        ("Eve", {}),
        ("Fay", {"provider": "two"}),
    ]
    for name, asking in everybody:
        begun = place.ask(one, f"My name is {name}.", "shared", **asking)
        assert who(begun)[1] == asking.get("provider", "claude")
        place.told.until_known(begun.headers["x-sessionbridge-session"], one, place.nodes)
    for name, asking in everybody:
        told = who(place.ask(two, "Who am I? (shared)", "shared", **asking))
        assert told == (one.url, asking.get("provider", "claude"), f"Your name is {name}.")
    for node in place.nodes:
        refused = place.ask(node, "Hi", "shared", client="bob", provider="two")
        assert refused.status_code == 403
        assert "'two' is not one that bob may name" in refused.json()["error"]["message"]
    kept = """
        SELECT client, provider, count(*) FROM sessionbridge.turns
        WHERE position('goclaw' IN scope) > 0 GROUP BY 1, 2 ORDER BY 1, 2
    """
    assert asked(place.database, kept) == [
        ("ann", "claude", 2),
        ("ann", "two", 2),
        ("bob", "claude", 2),
        (None, "claude", 2),
        (None, "two", 2),
    ]
    # The node that it is passed on to holds the client to its rules.
    place.command("set", "ann", "--tokens", "0/day")
    spent = place.ask(two, "And now?", "shared", client="ann", provider="two")
    assert (spent.status_code, spent.headers[NODE]) == (429, one.url)
    assert "ann" in spent.json()["error"]["message"]


def test_a_budget_for_one_turn_lets_one_through_over_both_nodes(
    place: Place, api: ScriptedServer
) -> None:
    place.add_client("cid", "--tokens", f"{LONGEST + LONGEST // 2}/month")
    with ThreadPoolExecutor(8) as pool:
        asking = [
            pool.submit(
                place.ask, place.nodes[n % 2], "Hi. [gate one-of-8]", f"user-{n}", client="cid"
            )
            for n in range(8)
        ]
        refused = [each.result() for each in islice(as_completed(asking), 7)]
        api.wait_until_held("one-of-8")
        api.open_gate("one-of-8")
        statuses = Counter(each.result().status_code for each in asking)
    assert statuses == {200: 1, 429: 7}
    assert {answer.json()["error"]["type"] for answer in refused} == {"rate_limit_error"}


def test_what_has_moved_at_one_node_goes_on_at_the_other(place: Place) -> None:
    one, two = place.nodes
    place.add_client("mo")
    begun = place.ask(one, "My name is Tess.", "mover", client="mo")
    assert who(begun)[1] == "two"
    place.told.until_known(begun.headers["x-sessionbridge-session"], one, place.nodes)
    with place.two.failing(500):
        moved = place.ask(two, "Who am I? (moved)", "mover", client="mo")
    assert who(moved) == ("", "claude", "Your name is Tess.")
    assert moved.headers["x-sessionbridge-reason"] == "moved"
    place.told.until_known(moved.headers["x-sessionbridge-session"], two, place.nodes)
    again = place.ask(one, "Who am I? (again)", "mover", client="mo")
    assert who(again) == (two.url, "claude", "Your name is Tess.")


def test_a_stranger_is_nobodys_node(place: Place) -> None:
    one, two = place.nodes
    talk = place.held_by(one, "forged")
    origin = {"platform": "sessionbridge", "external_id": "forged", "kind": "conversation"}
    told = {"api": "messages", "origin": {**origin, "history": "learn"}, "session": talk.session}
    for sealed in ("", "x", "é", Fernet(Fernet.generate_key()).encrypt(json.dumps(told).encode())):
        forged = [(PASSED_ON.encode(), sealed if isinstance(sealed, bytes) else sealed.encode())]
        url = f"{one.url}/.sessionbridge/session"
        asked = place.client.get(url, headers=forged)
        assert asked.status_code == 404, asked
        own = [*forged, (b"x-sessionbridge-session", b"strangers")]
        body = {**talk.fields, "messages": [{"role": "user", "content": "Who am I?"}]}
        answer = place.client.post(one.url + MESSAGES, json=body, headers=own)
        assert answer.status_code == 200, answer.text
        assert "Tess" not in answer.text
        assert NODE not in answer.headers
    for flow in one.proxy.bridged("strangers", 4):
        assert PASSED_ON not in flow["headers"]


def test_what_a_node_has_sealed_is_answered_once(place: Place) -> None:
    one, two = place.nodes
    question = place.sealed(node=one.url, session="a-session")
    said = [{"role": "user", "content": "Hello? (replayed)"}]
    body = json.dumps({**Talk(place.client, "replayed").body, "messages": said}).encode()
    origin = {"platform": "sessionbridge", "external_id": "replayed", "kind": "conversation"}
    turn = place.sealed(
        node=one.url,
        api="messages",
        origin={**origin, "history": "learn"},
        attempt={},
        rules={},
        model=None,
        provider=None,
        digest=sha256(body).hexdigest(),
        trace={},
    )

    def told(node: Node) -> list[httpx.Response]:
        path = f"{node.url}/.sessionbridge/session"
        return [
            place.client.get(path, headers=question),
            place.client.post(node.url + MESSAGES, content=body, headers=turn),
        ]

    assert [answer.status_code for answer in told(two)] == [403, 403]
    assert [answer.status_code for answer in told(one)] == [204, 200]
    for answer in told(one):
        assert answer.status_code == 403
        assert "is taken once" in answer.json()["error"]["message"]
        assert NODE not in answer.headers


def test_a_stranger_where_a_node_was_is_told_nothing(place: Place) -> None:
    one, two = place.nodes
    talk = place.held_by(one, "moved")
    heard: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers[PASSED_ON])
            self.send_response(204)
            self.send_header(NODE, url)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Stranger) as url:
        place.told.tell(node=url, held=[talk.session])
        place.told.settle(place.nodes)
        assert NODE not in talk.say(two, "Who am I? (moved)").headers
    assert talk.last == "Your name is Tess."
    (question,) = heard
    sent_on = {PASSED_ON: question}
    told = place.client.get(f"{one.url}/.sessionbridge/session", headers=sent_on)
    assert told.status_code == 403


def test_two_that_take_each_other_for_the_holder(place: Place) -> None:
    one, two = place.nodes
    before = set(one.proxy.children())
    talk = place.held_by(one, "stale")
    (process,) = set(one.proxy.children()) - before
    place.told.tell(node=two.url, held=[talk.session])  # which ends the process of the first
    wait_for(lambda: process not in one.proxy.children(), "the process to end")
    place.told.tell(node=one.url, held=[talk.session])
    place.told.settle(place.nodes)
    answer = talk.say(one, "Who am I? (stale)")
    assert talk.last == "Your name is Tess."
    assert NODE not in answer.headers
    place.told.until_known(talk.session, one, place.nodes)
    assert talk.say(two, "And now? (stale)").headers[NODE] == one.url


def test_one_that_is_frozen_is_done_without(place: Place) -> None:
    one, two = place.nodes
    talk, other = place.held_by(one, "frozen"), place.held_by(one, "frozen too")
    one.freeze()
    try:
        assert NODE not in talk.say(two, "Who am I? (frozen)").headers
        assert talk.last == "Your name is Tess."
        assert NODE not in other.say(two, "Who am I? (frozen, too)").headers
    finally:
        one.thaw()
    assert two.proxy.log.count(f"The node {one.url} does not answer") == 1
    place.told.until_known(talk.session, two, place.nodes)
    # What was said meanwhile the process that waits here has not heard.
    talk.say(one, "My name is Ann. (thawed)")
    talk.say(one, "Who am I? (thawed)")
    assert talk.last == "Your name is Ann."


def test_one_that_is_killed_is_an_error_once(place: Place, api: ScriptedServer) -> None:
    one, two = place.nodes
    talk = place.held_by(one, "killed")
    with talk.stream(two, "Wait. [gate killed-holder]") as answer:
        told = events(answer)
        api.wait_until_held("killed-holder")
        one.kill()
        *_, last = told
    api.open_gate("killed-holder")
    assert last["type"] == "error"
    assert last["error"]["message"].startswith(f"The node {one.url}, where this conversation is")
    del talk.messages[-1]
    assert NODE not in talk.say(two, "Who am I? (killed)").headers
    assert talk.last == "Your name is Tess."
    place.told.until_known(talk.session, two, [two])
    one.start()
    place.told.settle(place.nodes)
    assert talk.say(one, "And now? (killed)").headers[NODE] == two.url


def test_one_that_ends_is_done_without(place: Place, api: ScriptedServer) -> None:
    one, two = place.nodes
    talk, other = place.held_by(one, "ends"), Talk(place.client, "last")
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(other.say, one, "My name is Sue. [gate last-turn]")
        api.wait_until_held("last-turn")
        one.proxy.process.terminate()
        wait_for(lambda: "Ending when the turns under way" in one.proxy.log, "it to drain")
        assert NODE not in talk.say(two, "Who am I? (ends)").headers
        assert talk.last == "Your name is Tess."
        api.open_gate("last-turn")
        last.result()
