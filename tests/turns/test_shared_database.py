"""Whole turns of nodes that share a database on PostgreSQL, which fails in the middle of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path

import pytest

from sessionbridge.sessions.store.places import Place, place_of
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.bridge import Bridge
from tests.support.bridge_fixtures import SERVER_HELD, Answer, House, bridge
from tests.support.postgres import Postgres
from tests.support.postgres_stores import Moment, asked, relay
from tests.support.scripted_dispatcher import ScriptedDispatcher

TURNS = "SELECT count(*) FROM sessionbridge.turns WHERE internal_id <> ''"


class Node(House):
    """The transcripts of nodes are those of their dispatcher."""

    def __init__(self, home: Path, url: str, dispatcher: ScriptedDispatcher) -> None:
        self.place: Place = place_of(home, url)
        super().__init__(home, dispatcher)

    def _thread(self) -> StoreThread:
        return StoreThread(self.place, lambda: self.transcripts)

    def _bridge(self) -> Bridge:
        kept, locks = self.conversations, self.place.locks()
        return bridge(self.settings, self.thread, self.dispatcher, conversations=kept, locks=locks)

    def close(self) -> None:
        self.thread.close()
        self.place.close()

    async def says(self, text: str) -> Answer:
        """In a conversation whose history is kept here."""
        return await self.ask(text, origin=SERVER_HELD, stream=True)


Nodes = tuple[Node, Node]


@pytest.fixture
def dispatcher() -> ScriptedDispatcher:
    return ScriptedDispatcher()


@pytest.fixture
def nodes(database: str, tmp_path: Path, dispatcher: ScriptedDispatcher) -> Iterator[Nodes]:
    made = tuple(Node(tmp_path / name, database, dispatcher) for name in ("one", "other"))
    yield made[0], made[1]
    for node in made:
        node.close()


def has_its_own_transcripts(node: Node) -> None:
    """As far as they are now; a process that runs elsewhere is not in the way of one here."""
    dispatcher = ScriptedDispatcher()
    dispatcher.sessions = deepcopy(node.dispatcher.sessions)
    dispatcher._numbers = count(1000)
    node.dispatcher = dispatcher
    node.change()


async def half(node: Node, text: str) -> asyncio.Task[Answer]:
    """A turn that has begun, and waits in the middle of its answer."""
    dispatcher = node.dispatcher
    dispatcher.gate = asyncio.Event()
    dispatcher.waiting.clear()
    turn = asyncio.create_task(node.says(text))
    await dispatcher.waiting.wait()
    return turn


async def ended(node: Node, turn: asyncio.Task[Answer]) -> Answer:
    assert node.dispatcher.gate is not None
    node.dispatcher.gate.set()
    node.dispatcher.gate = None
    return await turn


def assert_not_kept(answer: Answer, *said: bytes) -> None:
    """The client has all of the answer, and is told."""
    assert answer.status == 200 and answer.whole
    assert [part for part in said if part not in answer.body] == []
    assert answer.events[-1] == "error" and "message_stop" not in answer.events
    assert b"This turn was not kept." in answer.body


async def shown(node: Node, text: str) -> list[str]:
    """What the model is shown with this turn."""
    answer = await node.says(text)
    assert answer.events[-1] == "message_stop"
    seen = node.dispatcher.seen[-1]
    return [str(block["text"]) for message in seen for block in message.blocks]


async def test_it_is_away_when_a_turn_ends(postgres: Postgres, database: str, nodes: Nodes) -> None:
    """No node goes on from what was not kept, and none has to be started again."""
    one, other = nodes
    await one.says("a")
    turn = await half(one, "lost")
    postgres.stop()
    assert_not_kept(await ended(one, turn), b'"3: "', b'"lost"')
    postgres.start()
    assert await shown(other, "b") == ["a", "1: a", "b"]
    assert await shown(one, "c") == ["a", "1: a", "b", "3: b", "c"]
    assert asked(database, TURNS) == [(3,)]


async def test_it_is_restarted_while_a_turn_runs(
    postgres: Postgres, database: str, nodes: Nodes
) -> None:
    one, other = nodes
    await one.says("a")
    turn = await half(one, "lost")
    postgres.restart()
    has_its_own_transcripts(other)
    assert await shown(other, "b") == ["a", "1: a", "b"]
    assert_not_kept(await ended(one, turn), b'"3: "', b'"lost"')
    one.dispatcher.sessions = other.dispatcher.sessions
    assert await shown(one, "c") == ["a", "1: a", "b", "3: b", "c"]
    assert asked(database, TURNS) == [(3,)]


@pytest.mark.parametrize("moment", ["sent", "done"])
async def test_the_commit_of_a_turn_is_cut_off(
    database: str, tmp_path: Path, dispatcher: ScriptedDispatcher, moment: Moment
) -> None:
    with relay(database) as between:
        node = Node(tmp_path, between.url, dispatcher)
        try:
            await node.says("a")
            turn = await half(node, "b")
            between.cut = moment
            answer = await ended(node, turn)
            kept = moment == "done"
            assert answer.events[-1] == ("message_stop" if kept else "error")
            assert (b"This turn was not kept." in answer.body) is not kept
            said = ["b", "3: b"] if kept else []
            assert await shown(node, "c") == ["a", "1: a", *said, "c"]
        finally:
            node.close()


async def test_it_is_away_before_a_turn_begins(
    postgres: Postgres, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionbridge.sessions.store.store_thread.PATIENCE", 0.3)
    one, other = nodes
    await one.says("a")
    postgres.stop()
    for node in nodes:
        answer = await node.says("b")
        assert answer.status == 503 and "cannot be reached" in answer.json["error"]["message"]
    assert len(one.dispatcher.jobs) == 1
    monkeypatch.undo()
    postgres.start()
    assert await shown(other, "b") == ["a", "1: a", "b"]
