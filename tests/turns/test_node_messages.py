"""What one node has sealed for another is for that one, for a while, and for once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet

from sessionbridge.errors import Refused
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.node_messages import NodeMessages, Passed, Question, new_name
from tests.support.postgres import Postgres
from tests.turns.test_holders import ONE, THREE, TWO, Wire


@pytest.fixture(scope="module")
def store(postgres: Postgres) -> Iterator[StoreThread]:
    with postgres.database() as url:
        place = Place(url)
        store = StoreThread(place)
        yield store
        store.close()
        place.close()


class Nodes:
    def __init__(self, store: StoreThread) -> None:
        self.store = store
        self.wire = Wire()
        self.one, self.two, self.three = (self.running(address) for address in (ONE, TWO, THREE))

    def running(self, address: str) -> NodeMessages:
        """For an hour."""
        node = self.started(address)
        node._began -= 3600
        return node

    def started(self, address: str) -> NodeMessages:
        return NodeMessages(self.store, self.wire.clock, address)

    async def sealed(self, node: str = TWO) -> str:
        return await self.one.seal(Question(node=node, once=new_name(), session="s"))


@pytest.fixture
def nodes(store: StoreThread) -> Nodes:
    return Nodes(store)


async def taken(node: NodeMessages, sealed: str) -> bool:
    try:
        return await node.take(sealed, Question) is not None
    except Refused:
        return False


async def test_it_is_for_one_node(nodes: Nodes) -> None:
    sealed = await nodes.sealed()
    with pytest.raises(Refused, match=f"sealed for {TWO}, and this is {THREE}"):
        await nodes.three.take(sealed, Question)
    assert await taken(nodes.two, sealed)


async def test_it_is_taken_once_however_it_is_spelled(nodes: Nodes) -> None:
    """Base64 is read with whatever is none of it left out."""
    sealed = await nodes.sealed()
    assert await taken(nodes.two, sealed)
    for again in (sealed, f"{sealed[:9]}!{sealed[9:]}"):
        with pytest.raises(Refused, match="taken once"):
            await nodes.two.take(again, Question)
    assert await taken(nodes.two, await nodes.sealed())


async def test_it_lasts_for_a_while(nodes: Nodes) -> None:
    first, second = await nodes.sealed(), await nodes.sealed()
    nodes.wire.now += 30
    assert await taken(nodes.two, first)
    nodes.wire.now += 1
    with pytest.raises(Refused, match="for 30 s"):
        await nodes.two.take(second, Question)


async def test_who_was_started_anew_takes_nothing_from_before(nodes: Nodes) -> None:
    sealed = await nodes.sealed()
    assert await taken(nodes.two, sealed)
    nodes.wire.now += 5
    again = nodes.started(TWO)
    assert not await taken(again, sealed)
    assert await taken(again, await nodes.sealed())


async def test_it_is_taken_once_when_the_clock_is_set_back(nodes: Nodes) -> None:
    """What seems to come from the next minute is taken, and lasts longer for that."""
    sealed = await nodes.sealed()
    nodes.wire.now -= 60
    assert await taken(nodes.two, sealed)
    nodes.wire.now += 90
    assert not await taken(nodes.two, sealed)


async def test_what_cannot_be_taken_again_is_forgotten(nodes: Nodes) -> None:
    for _ in range(3):
        assert await taken(nodes.two, await nodes.sealed())
    nodes.wire.now += 91
    assert await taken(nodes.two, await nodes.sealed())
    assert len(nodes.two._taken) == 1


async def test_another_kind_is_refused_and_a_foreign_seal_nobodys(nodes: Nodes) -> None:
    with pytest.raises(Refused, match="not known here"):
        await nodes.two.take(await nodes.sealed(), Passed)
    question = Question(node=TWO, once=new_name(), session="s").model_dump_json().encode()
    foreign = Fernet(Fernet.generate_key()).encrypt_at_time(question, int(nodes.wire.now))
    for sealed in (foreign.decode(), "", "x", "é", "\udce9"):
        assert await nodes.two.take(sealed, Question) is None
