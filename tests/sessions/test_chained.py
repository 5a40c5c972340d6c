"""Requests that name the response they go on from, and items that are only named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.errors import ItemNotFound, ResponseNotFound, SessionLost
from sessionbridge.model import Attempt, Block, Message, TurnRequest
from sessionbridge.sessions.planning.chained import Chained, gone
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.planning.memory import key_lock
from sessionbridge.sessions.planning.references import REFERENCE, References, refers
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.queries import Response
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support.spoken import assistant, user
from tests.support.tool_rounds import found, use
from tests.support.turn_records import KEY, turn

FULL = (user("Hello"), assistant("Hi"), user("Look"), assistant("I look", use("a"), use("b")))
RESULTS = user(found("a"), found("b"))


class Transcript:
    """`said` of a session, by the entries `0`, `1`, … of its messages."""

    def __init__(self, *messages: Message) -> None:
        self.messages = messages

    async def __call__(self, internal_id: str, upto: str, after: str | None) -> Sequence[Message]:
        if not self.messages:
            raise SessionLost("It is gone.")
        return self.messages[int(after) + 1 if after else 0 : int(upto) + 1]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StoreThread]:
    opened = StoreThread(Home(tmp_path))
    yield opened
    opened.close()


def all_of_them(_: Response) -> bool:
    return True


async def committed(
    store: StoreThread, name: str, tip: str, parent: int | None = None, **changed: Any
) -> int:
    status = "tool_use" if name == "open" else "end_turn"
    changes: dict[str, Any] = {"history_hash": f"hash-{name}", "ask_hash": f"ask-{name}"}
    changes |= changed
    return await store.commit(
        turn(response_id=name, tip_uuid=tip, parent_id=parent, status=status, points=(), **changes)
    )


async def chained(
    store: StoreThread, previous: str, *messages: Message, said: Transcript | None = None
) -> Chained:
    response = await store.response(previous)
    assert response is not None
    told = said or Transcript(*FULL)
    manner = Manner("settings", "claude-x")
    asked = chain(messages), Attempt(), manner
    lost = gone(TurnRequest("m", "", (), stream=False))
    return Chained(response, store, *asked, gone=lost, said=told)


async def test_what_follows_first_goes_on_and_anything_else_is_a_fork(store: StoreThread) -> None:
    one = await committed(store, "one", "1")
    memory = await chained(store, "one", user("And?"))
    plan = await memory.plan()
    assert (plan.name, plan.reason, memory.lock) == ("resume", "continued", key_lock(KEY))
    assert plan.base is not None and plan.base.entry_uuid == "1"
    await committed(store, "two", "3", one)
    plan = await memory.plan()
    assert (plan.name, plan.reason, memory.lock) == ("fork", "branched", None)


async def test_it_waits_for_others_that_go_on_in_its_session(store: StoreThread) -> None:
    """Those of a client that keeps the history do so under the session's own name."""
    await committed(store, "one", "1", metadata={"history": "client"})
    memory = await chained(store, "one", user("And?"))
    await memory.plan()
    assert memory.lock == "session-1"


async def test_messages_before_the_last_are_fed(store: StoreThread) -> None:
    await committed(store, "one", "1")
    memory = await chained(store, "one", user("a"), assistant("b"), user("c"))
    plan = await memory.plan()
    assert (plan.name, plan.reason, memory.lock) == ("import", "imported", None)
    assert (len(plan.feed), plan.ask) == (2, user("c"))


async def test_results_go_to_the_turn_that_waits_or_are_brought_in(store: StoreThread) -> None:
    one = await committed(store, "one", "1")
    waits = await committed(store, "open", "3", one)
    memory = await chained(store, "open", RESULTS)
    plan = await memory.plan()
    assert (plan.name, plan.reason, memory.lock) == ("resume", "tool_results", key_lock(KEY))
    assert plan.base is not None and plan.base.is_open and plan.base.turn_id == waits
    again = await memory.plan_again(plan)
    assert (again.name, again.reason) == ("import", "tools_imported")
    assert again.base is not None and again.base.turn_id == one
    assert (*again.feed, again.ask) == (*FULL[2:], RESULTS)


async def test_a_response_that_is_gone_is_told_as_that(store: StoreThread) -> None:
    await committed(store, "one", "1")
    memory = await chained(store, "one", user("And?"), said=Transcript())
    plan = await memory.plan()
    with pytest.raises(ResponseNotFound) as caught:
        await memory.plan_again(plan)
    assert (caught.value.status, caught.value.param) == (400, "previous_response_id")


async def test_a_response_whose_session_is_refused_is_gone_on_from_its_transcript(
    store: StoreThread,
) -> None:
    await committed(store, "one", "1")
    memory = await chained(store, "one", user("And?"))
    plan = await memory.plan_again(await memory.plan())
    assert (plan.name, plan.reason, plan.base) == ("import", "rebuilt", None)
    assert (*plan.feed, plan.ask) == (*FULL[:2], user("And?"))


@pytest.mark.parametrize("base", [True, False])
async def test_an_open_turn_whose_transcript_is_gone_is_told_as_that(
    store: StoreThread, base: bool
) -> None:
    one = await committed(store, "one", "1") if base else None
    await committed(store, "open", "3", one)
    memory = await chained(store, "open", RESULTS, said=Transcript())
    plan = await memory.plan()
    with pytest.raises(ResponseNotFound):
        await memory.plan_again(plan)


# --- items that are only named ----------------------------------------------------------------


def named(response: str, block: int) -> Message:
    reference: Block = {"type": REFERENCE, "id": "item_1", "response": response, "block": block}
    return Message("assistant", (reference,))


async def test_an_item_is_found_in_the_answer_of_its_response(store: StoreThread) -> None:
    one = await committed(store, "one", "1")
    await committed(store, "open", "3", one)
    references = References(store, lambda _: Transcript(*FULL))
    asked = (user("Hello"), named("one", 0), named("open", 0), named("open", 2))
    assert [refers(message) for message in asked] == [False, True, True, True]
    told = await references.resolved(asked, all_of_them)
    assert told == (user("Hello"), assistant("Hi"), assistant("I look"), assistant(use("b")))


@pytest.mark.parametrize(("response", "block"), [("other", 0), ("one", 1), ("one", 99)])
async def test_an_item_that_is_not_known_is_named(
    store: StoreThread, response: str, block: int
) -> None:
    await committed(store, "one", "1")
    for references in (
        References(store, lambda _: Transcript(*FULL)),
        References(None, lambda _: Transcript(*FULL)),
    ):
        with pytest.raises(ItemNotFound, match="item_1") as caught:
            await references.resolved([named(response, block)], all_of_them)
        assert (caught.value.status, caught.value.param) == (404, "input")


async def test_an_item_whose_transcript_is_gone_is_not_known(store: StoreThread) -> None:
    await committed(store, "one", "1")
    with pytest.raises(ItemNotFound):
        await References(store, lambda _: Transcript()).resolved([named("one", 0)], all_of_them)


async def test_an_item_of_somebody_else_is_not_known(store: StoreThread) -> None:
    await committed(store, "one", "1")
    with pytest.raises(ItemNotFound):
        await References(store, lambda _: Transcript(*FULL)).resolved(
            [named("one", 0)], lambda _: False
        )
