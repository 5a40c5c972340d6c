"""What `docs/haproxy.cfg` does for its nodes, which only say here who they are."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from sessionbridge.sessions.origins.table import Origins
from tests.support.haproxy import CONFIGURATION, HAProxy, running_haproxy
from tests.support.proxy import free_port

MESSAGES = "/v1/messages"
HELD, BROKEN = "X-Held", "X-Broken"
"""Headers by which a test has a node wait in mid-answer, and leave without one."""


class StandIn(ThreadingHTTPServer):
    """A node that is healthy until it is told to be not."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.name = name
        self.health = HTTPStatus.OK
        self.asked = 0
        self.go_on = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client may leave."""


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self.send_response(self.server.health)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        if BROKEN in self.headers:
            return
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.wfile.write(self.server.name.encode())
        if HELD in self.headers:
            assert self.server.go_on.wait(20)
            self.wfile.write(b", to the end")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(port: int, name: str) -> Iterator[StandIn]:
    with StandIn(port, name) as node:
        thread = threading.Thread(target=node.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield node
        finally:
            node.shutdown()
            thread.join()


class Place:
    def __init__(self, haproxy: HAProxy, nodes: dict[str, StandIn], client: httpx.Client) -> None:
        self.haproxy = haproxy
        self.nodes = nodes
        self.client = client

    def asked(self, path: str = MESSAGES, **headers: str) -> str:
        """Who answers."""
        answer = self.client.post(path, headers=headers, content=b"{}")
        assert answer.status_code == 200, answer
        return answer.text

    def nodes_of(self, chats: range) -> dict[str, str]:
        """Who answers these conversations."""
        return {f"chat-{n}": self.asked(**{"X-Session-Id": f"chat-{n}"}) for n in chats}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    one, two = free_port(), free_port()
    with (
        serving(one, "one") as first,
        serving(two, "two") as second,
        running_haproxy(one, two) as haproxy,
        httpx.Client(base_url=haproxy.url, timeout=20, trust_env=False) as client,
    ):
        yield Place(haproxy, {"one": first, "two": second}, client)


@pytest.fixture(autouse=True)
def both_up(place: Place) -> None:
    for node in place.nodes.values():
        node.health = HTTPStatus.OK
    place.haproxy.wait_for(one="UP", two="UP")


def test_a_conversation_stays_at_its_node_by_each_header_that_may_name_it(place: Place) -> None:
    listed = re.findall(r"req\.fhdr\((.+)\)", CONFIGURATION.read_text("utf-8"))
    rules = [rule for rule in Origins.default().rules if rule.enabled and rule.priority != "proxy"]
    assert {name.lower() for name in listed} == {name for rule in rules for name in rule.header}
    for name in listed:
        first, second = (
            [place.asked(**{name: f"chat-{number}"}) for number in range(8)] for _ in range(2)
        )
        assert first == second and set(first) == {"one", "two"}, name


def test_so_it_does_by_its_address(place: Place) -> None:
    first, second = (
        [place.asked(f"/s/chat-{number}/v1/messages") for number in range(8)] for _ in range(2)
    )
    assert first == second and set(first) == {"one", "two"}


def test_requests_that_name_none_are_spread(place: Place) -> None:
    assert {place.asked() for _ in range(40)} == {"one", "two"}


def test_a_piece_of_a_stream_is_passed_on_as_it_comes(place: Place) -> None:
    with place.client.stream("POST", MESSAGES, headers={HELD: "1"}, content=b"{}") as answer:
        pieces = answer.iter_text()
        node = place.nodes[next(pieces)]
        node.go_on.set()
        assert "".join(pieces) == ", to the end"
    node.go_on.clear()


def test_a_node_that_ends_finishes_what_it_has_and_gets_nothing_new(place: Place) -> None:
    before = place.nodes_of(range(16))
    headers = {HELD: "1"}
    with place.client.stream("POST", MESSAGES, headers=headers, content=b"{}") as answer:
        pieces = answer.iter_text()
        ending = next(pieces)
        (other,) = place.nodes.keys() - {ending}
        place.nodes[ending].health = HTTPStatus.SERVICE_UNAVAILABLE
        place.haproxy.wait_for(**{ending: "DOWN"})
        assert set(place.nodes_of(range(16)).values()) == {other}
        place.nodes[ending].go_on.set()
        assert "".join(pieces) == ", to the end"
    place.nodes[ending].go_on.clear()
    place.nodes[ending].health = HTTPStatus.OK
    place.haproxy.wait_for(**{ending: "UP"})
    assert place.nodes_of(range(16)) == before


def test_so_does_one_that_is_drained_by_hand(place: Place) -> None:
    place.haproxy.command("set server nodes/one state drain")
    place.haproxy.wait_for(one="DRAIN")
    assert set(place.nodes_of(range(16)).values()) == {"two"}
    place.haproxy.command("set server nodes/one state ready")


def test_a_request_that_no_node_took_is_taken_by_another(place: Place) -> None:
    """Before any check has seen that the node is gone."""
    one = free_port()
    with (
        running_haproxy(one, place.nodes["two"].server_port) as haproxy,
        httpx.Client(base_url=haproxy.url, timeout=20, trust_env=False) as client,
    ):
        with serving(one, "one"):
            haproxy.wait_for(one="UP")
            chats = [{"X-Session-Id": f"chat-{number}"} for number in range(16)]
            nodes = [client.post(MESSAGES, headers=chat, content=b"{}").text for chat in chats]
            assert set(nodes) == {"one", "two"}
        chat = chats[nodes.index("one")]
        assert client.post(MESSAGES, headers=chat, content=b"{}").text == "two"
        haproxy.wait_for(one="DOWN")


def test_one_that_a_node_has_begun_is_not_asked_again(place: Place) -> None:
    asked = sum(node.asked for node in place.nodes.values())
    answer = place.client.post(MESSAGES, headers={BROKEN: "1"}, content=b"{}")
    assert answer.status_code == 502
    assert sum(node.asked for node in place.nodes.values()) == asked + 1


def test_the_operators_pages_are_not_there(place: Place) -> None:
    assert place.client.get("/.sessionbridge/health").status_code == 403
