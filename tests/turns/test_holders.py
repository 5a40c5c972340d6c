"""What nodes know of each other's processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.turns.holders import Holders

ONE, TWO, THREE = (f"http://10.0.0.{number}:8080" for number in (1, 2, 3))


class Wire:
    """Between the nodes of a test. While it is `cut` nothing can be said; `mend` has all listen
    anew, as to a database that was away. `now` is what their clock shows."""

    def __init__(self) -> None:
        self.cut = False
        self.now = 1_800_000_000.0
        self.said: list[str] = []
        self._ears: list[asyncio.Queue[str | None]] = []

    async def heard(self) -> AsyncGenerator[str | None]:
        ear: asyncio.Queue[str | None] = asyncio.Queue()
        self._ears.append(ear)
        yield None
        while True:
            yield await ear.get()

    async def say(self, texts: Sequence[str]) -> None:
        if self.cut:
            raise StoreUnavailable("The wire is cut.")
        self.said += texts
        for text in texts:
            self._tell(text)

    def clock(self) -> float:
        return self.now

    def mend(self) -> None:
        self.cut = False
        self._tell(None)

    def _tell(self, text: str | None) -> None:
        for ear in self._ears:
            ear.put_nowait(text)


class Nodes:
    def __init__(self, wire: Wire, open_: AsyncExitStack) -> None:
        self.wire = wire
        self.taken: list[tuple[str, str]] = []
        self._open = open_

    def start(self, address: str) -> Holders:
        node = Holders(self.wire, address, lambda session: self.taken.append((address, session)))
        node.start()
        self._open.callback(node.stop)
        return node


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as open_:
        yield Nodes(Wire(), open_)


@asynccontextmanager
async def soon() -> AsyncIterator[None]:
    async with asyncio.timeout(5):
        yield


async def until(node: Holders, session: str, holder: str | None) -> None:
    async with soon():
        while node.elsewhere(session) != holder:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0)


async def test_a_node_hears_what_another_holds_and_lets_go(nodes: Nodes) -> None:
    one, two = nodes.start(ONE), nodes.start(TWO)
    one.changed("s", True)
    assert one.is_here("s")
    assert not two.is_here("s")
    await until(two, "s", ONE)
    assert one.elsewhere("s") is None
    one.changed("s", False)
    await until(two, "s", None)
    assert not one.is_here("s")


async def test_who_comes_later_hears_all_of_it(nodes: Nodes) -> None:
    one, two = nodes.start(ONE), nodes.start(TWO)
    for number in range(250):
        one.changed(f"s{number}", True)
    two.changed("t", True)
    await until(one, "t", TWO)
    three = nodes.start(THREE)
    await until(three, "t", TWO)
    for number in range(250):
        await until(three, f"s{number}", ONE)


async def test_each_message_is_below_what_the_database_takes(nodes: Nodes) -> None:
    one, two = nodes.start(ONE), nodes.start(TWO)
    sessions = [f"{number:036}" for number in range(1000)]
    for session in sessions:
        one.changed(session, True)
    for session in sessions:
        await until(two, session, ONE)
    assert max(len(text) for text in nodes.wire.said) < 8000
    assert len(nodes.wire.said) < 30


async def test_the_last_to_hold_it_counts_and_the_other_is_told(nodes: Nodes) -> None:
    one, two, three = nodes.start(ONE), nodes.start(TWO), nodes.start(THREE)
    one.changed("s", True)
    await until(two, "s", ONE)
    two.changed("s", True)
    assert two.elsewhere("s") is None
    await until(three, "s", TWO)
    await until(one, "s", TWO)
    assert nodes.taken == [(ONE, "s")]
    one.changed("s", False)  # its process has ended for that
    one.changed("t", True)
    await until(three, "t", ONE)
    assert three.elsewhere("s") == TWO


async def test_what_was_known_is_forgotten_where_something_may_have_been_missed(
    nodes: Nodes,
) -> None:
    one, two = nodes.start(ONE), nodes.start(TWO)
    one.changed("gone", True)
    one.changed("held", True)
    await until(two, "gone", ONE)
    await until(two, "held", ONE)
    nodes.wire.cut = True
    one.changed("gone", False)
    nodes.wire.mend()
    await until(two, "gone", None)
    await until(two, "held", ONE)


async def test_a_node_that_ends_or_begins_anew_holds_nothing(nodes: Nodes) -> None:
    one, two = nodes.start(ONE), nodes.start(TWO)
    one.changed("s", True)
    await until(two, "s", ONE)
    await one.close()
    await until(two, "s", None)
    again = nodes.start(ONE)
    again.changed("t", True)
    await until(two, "t", ONE)
    again.stop()  # as when it is killed
    nodes.start(ONE)
    await until(two, "t", None)


async def test_a_node_that_does_not_answer_is_forgotten_until_it_speaks(nodes: Nodes) -> None:
    one, two = nodes.start(ONE), nodes.start(TWO)
    one.changed("s", True)
    await until(two, "s", ONE)
    two.forget(ONE)
    assert two.elsewhere("s") is None
    one.changed("t", True)
    await until(two, "t", ONE)


@pytest.mark.parametrize(
    "text", ["", "hello", "[]", "{}", '{"node": 5}', '{"node": "x", "held": 1}']
)
async def test_what_others_say_there_is_left_alone(nodes: Nodes, text: str) -> None:
    one, two = nodes.start(ONE), nodes.start(TWO)
    await nodes.wire.say([text])
    one.changed("s", True)
    await until(two, "s", ONE)
