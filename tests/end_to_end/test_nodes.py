"""Two nodes that share a PostgreSQL, behind HAProxy as `docs/haproxy.cfg` has it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import psycopg
import pytest

from tests.end_to_end.test_walks import raise_first
from tests.end_to_end.test_websocket import until_end
from tests.support.haproxy import HAProxy, running_haproxy
from tests.support.nodes import Node, running_nodes
from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import wait_for
from tests.support.responses_talks import Responses, ResponsesStream
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import Chat, ChatStream, Messages, MessagesStream, Talk
from tests.support.tools_stage import assert_seen
from tests.support.walks import STEPS, Walk, take_walks

APIS = cycle((Messages, ChatStream, Responses, MessagesStream, Chat, ResponsesStream))


@dataclass(frozen=True, slots=True)
class Turn:
    """What a client says, or gives to the calls that wait, after it went `back` by so many turns.
    The model says who somebody is whose name it was told."""

    say: str = ""
    give: tuple[str, ...] = ()
    back: int = 0


TALK = (
    Turn("My name is Tia."),
    Turn("Who am I?"),
    Turn('Look. [call look {"at": "a"}]'),
    Turn(give=('sunny [call add {"a": 1, "b": 2}]',)),
    Turn(give=('3 [call look {"at": "b"}] [call add {"a": 3, "b": 4}]',)),
    Turn(give=("rain", "7")),
    Turn("Who am I?"),
    Turn("My name is Ugo.", back=1),
    Turn("Who am I?"),
    Turn("Who am I? (once more)", back=1),
    Turn('Look. [call look {"at": "c"}]'),
    Turn(give=("fog",)),
    Turn("My name is Zoe.", back=9),
    Turn('Add. [call add {"a": 5, "b": 6}] [call add {"a": 7, "b": 8}]'),
    Turn(give=("11", "15")),
    Turn('Not that. [call look {"at": "d"}]', back=2),
    Turn("Never mind the call.", back=1),
    Turn("Who am I?"),
    Turn('Look. [call look {"at": "e"}]'),
    Turn(give=("snow",)),
)


class Place:
    def __init__(self, nodes: list[Node], haproxy: HAProxy, store: str) -> None:
        self.nodes = nodes
        self.store = store
        self.haproxy = haproxy
        self.clients = haproxy.clients
        self._turns = cycle(("one", "two"))

    def next_node(self) -> None:
        """What is asked from here on is asked at another node than before."""
        self.haproxy.only(next(self._turns))


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, api: ScriptedServer
) -> Iterator[Place]:
    with (
        postgres.database() as store,
        running_nodes(tmp_path_factory.mktemp("nodes"), api.url, store) as nodes,
        running_haproxy(nodes[0].port, nodes[1].port) as haproxy,
    ):
        haproxy.wait_for(one="UP", two="UP")
        yield Place(nodes, haproxy, store)


def test_a_conversation_goes_from_node_to_node_with_each_turn(
    place: Place, api: ScriptedServer
) -> None:
    """And from API to API, with rounds of tools and edits."""
    talk: Talk = Messages(place.clients, "to-and-fro")
    for number, (turn, kind) in enumerate(zip(TALK, APIS, strict=False)):
        place.next_node()
        talk = talk.retold(kind, talk.told[: len(talk.told) - 2 * turn.back])
        if turn.give:
            talk.give(*turn.give)
        elif number == 0:
            talk.begin(turn.say)
        else:
            talk.say(turn.say)
        assert_seen(api, talk)
    assert talk.last.text == "Returned: snow"


def test_the_law_on_a_walk_from_node_to_node(place: Place, api: ScriptedServer) -> None:
    walk = Walk(4, api, "node-walk")
    for _ in range(STEPS // 2):
        place.next_node()
        raise_first(take_walks([walk], place.clients, 1))


def test_a_response_on_a_websocket_is_gone_on_from_at_the_other_node(place: Place) -> None:
    client = place.clients.openai({"X-SessionBridge-Session": "socket"})
    place.next_node()
    with client.responses.connect(websocket_connection_options={"proxy": None}) as connection:
        connection.response.create(model="gpt-5", input="My name is Tia.")
        *_, last = until_end(connection)
    place.next_node()
    answer = client.responses.create(
        model="gpt-5", input="Who am I?", previous_response_id=last.response.id
    )
    assert answer.output_text == "Your name is Tia."


def test_what_an_api_keeps_is_known_at_every_node(place: Place) -> None:
    """A conversation that was created, its items, a response by its id, and a sealed summary."""
    client = place.clients.openai({})
    ask = partial(client.responses.create, model="gpt-5")

    place.next_node()
    created = client.conversations.create(
        items=[{"role": "user", "content": "My name is Tia."}], metadata={"of": "two nodes"}
    ).id
    place.next_node()
    first = ask(input="Who am I? (kept)", conversation=created)
    assert first.output_text == "Nice to meet you, Tia!"
    place.next_node()
    client.conversations.items.create(created, items=[{"role": "user", "content": "I am Ugo."}])
    assert client.responses.retrieve(first.id).output_text == first.output_text
    place.next_node()
    assert ask(input="My name is Zoe.", conversation=created).status == "completed"
    place.next_node()
    items: Any = client.conversations.items.list(created, order="asc")
    told = [item.content[0].text for item in items if item.type == "message"]
    assert told[:4] == ["My name is Tia.", "Who am I? (kept)", first.output_text, "I am Ugo."]
    assert client.conversations.retrieve(created).metadata == {"of": "two nodes"}
    summary = client.responses.compact(model="gpt-5", input="My name is Tia. (to be summarised)")
    place.next_node()
    asked: Any = [
        *(item.to_dict(warnings=False) for item in summary.output),
        _user("Go on. (summarised)"),
    ]
    assert ask(input=asked).status == "completed"
    client.conversations.delete(created)
    for _ in place.nodes:
        place.next_node()
        for gone in (
            partial(client.responses.retrieve, first.id),
            partial(client.conversations.retrieve, created),
            partial(ask, input="Who am I? (gone)", previous_response_id=first.id),
        ):
            with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
                gone()


def test_a_response_in_the_background_is_found_where_it_runs(
    place: Place, api: ScriptedServer
) -> None:
    client = place.clients.openai({})
    place.haproxy.only("one", "two")
    for number in range(4):
        running = client.responses.create(
            model="gpt-5", input=f"Wait. [gate background {number}]", background=True
        )
        api.wait_until_held(f"background {number}")
        for _ in range(4):
            assert client.responses.retrieve(running.id).status in ("queued", "in_progress")
        assert client.responses.cancel(running.id).status == "cancelled"
        api.open_gate(f"background {number}")


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_when_a_node_is_killed_in_mid_turn_the_other_goes_on(
    place: Place, api: ScriptedServer
) -> None:
    killed = place.nodes[0]
    talk = MessagesStream(place.clients, "killed")
    place.haproxy.only("one")
    talk.begin("My name is Tia.")
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(talk.branch().say, "Wait. [gate killed-node]")
        api.wait_until_held("killed-node")
        place.haproxy.only("one", "two")
        killed.kill()
        assert isinstance(lost.exception(), (httpx2.HTTPError, anthropic.APIError))
    api.open_gate("killed-node")
    assert talk.say("Who am I?").text == "Your name is Tia."
    assert_seen(api, talk)
    killed.start()
    place.haproxy.wait_for(one="UP", two="UP")
    place.haproxy.only("one")
    assert talk.say("Who am I? (at the one that is back)").text == "Your name is Tia."
    assert_seen(api, talk)


def test_when_a_node_is_killed_in_mid_commit_the_other_goes_on(
    place: Place, api: ScriptedServer
) -> None:
    """From the state before: the client was never told that its turn had come to its end."""
    one = place.nodes[0]
    talk = MessagesStream(place.clients, "mid-commit")
    place.haproxy.only("one")
    talk.begin("My name is Tia.")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(place.store, autocommit=True) as database:
        with database.transaction():
            database.execute("LOCK TABLE sessionbridge.points IN SHARE MODE")
            lost = pool.submit(talk.branch().say, "My name is Ugo.")
            wait_for(lambda: _waits_for_points(place.store), "the commit to wait")
            place.haproxy.only("one", "two")
            one.kill()
        assert isinstance(lost.exception(), (httpx2.HTTPError, anthropic.APIError))
        assert talk.say("Who am I?").text == "Your name is Tia."
        assert_seen(api, talk)
        kept = "SELECT count(*) FROM sessionbridge.turns WHERE external_id = 'mid-commit'"
        assert database.execute(kept).fetchall() == [(2,)]
    one.start()
    place.haproxy.wait_for(one="UP", two="UP")


def _waits_for_points(store: str) -> bool:
    """Asked anew each time: within one transaction it is always told the same."""
    asked = """
        SELECT 1 FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query LIKE '%INTO points%'
    """
    with psycopg.connect(store) as database:
        return database.execute(asked).fetchone() is not None


def test_the_password_of_the_store_is_seen_nowhere(place: Place, postgres: Postgres) -> None:
    """Neither by the processes of Claude, nor in files, nor by who lists the processes."""
    place.haproxy.only("one")
    Messages(place.clients, "secret").begin("Hello.")
    proxy = place.nodes[0].proxy
    shown = [Path(f"/proc/{pid}/environ") for pid in proxy.children()]
    assert shown
    shown += [Path(f"/proc/{pid}/cmdline") for pid in (proxy.process.pid, *proxy.children())]
    shown += [file for node in place.nodes for file in node.home.rglob("*") if file.is_file()]
    for file in (*shown, postgres.log):
        assert PASSWORD.encode() not in file.read_bytes(), file
