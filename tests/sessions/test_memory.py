"""What is kept of a turn, and how the next one begins because of it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sessionbridge.errors import MemoryLost, SessionLost, StoreUnavailable
from sessionbridge.model import Attempt, Finished, History, Message, Plan, SessionKey, Usage
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.planning.memory import Answered, Continued, Fleeting, Remembered
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support.bridge_fixtures import held
from tests.support.scripted_dispatcher import said

KEY = SessionKey("tests", "chat-1", "claude")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StoreThread]:
    opened = StoreThread(Home(tmp_path))
    yield opened
    opened.close()


ONCE = Attempt()
AGAIN = Attempt(again=True)


def talk(*texts: str) -> list[Message]:
    return [said(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]


def remembered(
    store: StoreThread,
    history: History,
    *texts: str,
    attempt: Attempt = ONCE,
    refuse_loss: bool = False,
) -> Remembered:
    links = chain(talk(*texts))
    return Remembered(
        store,
        held(history),
        "claude",
        links,
        attempt,
        Manner("settings", "claude-x"),
        refuse_loss=refuse_loss,
        said=nothing_known,
    )


async def nothing_known(internal_id: str, upto: str, after: str | None) -> tuple[Message, ...]:
    raise SessionLost("Nothing is known of it.")


def answered(plan: Plan, text: str, session: str, *entries: str) -> Answered:
    return Answered(
        plan=plan,
        base=plan.base,
        shown=(*plan.feed, plan.ask),
        finished=Finished(session, entries, "end_turn", Usage(1, 2, 3, 4), 0.5),
        answer=said("assistant", text),
        api="messages",
        model="claude-x",
        process="new",
        response_id="msg_1",
        started_at=1.0,
        ttft_ms=1,
        duration_ms=2,
        location={"cwd": "work"},
    )


async def take_turn(memory: Remembered, answer: str, session: str, *entries: str) -> Plan:
    plan = await memory.plan()
    assert await memory.commit(answered(plan, answer, session, *entries)) is not None
    return plan


async def test_a_point_for_each_message_given_and_for_the_answer(store: StoreThread) -> None:
    memory = remembered(store, "client", "a", "b", "c")
    assert (await take_turn(memory, "d", "s1", "e1", "e2", "e3", "e4")).reason == "imported"
    links = chain(talk("a", "b", "c", "d"))
    for number, link in enumerate(links, 1):
        lineage = await store.lineage(KEY, [link.hash])
        assert [(p.hash, p.entry_uuid, p.is_tip) for p in lineage.points] == [
            (link.hash, f"e{number}", number == len(links))
        ]
    assert lineage.row is not None and lineage.row.session_id == "s1"
    assert lineage.row.metadata == {
        "kind": "conversation",
        "history": "client",
        "trying": None,
        "cwd": "work",
    }


async def test_the_next_turn_continues_and_names_its_parent(store: StoreThread) -> None:
    await take_turn(remembered(store, "client", "a"), "b", "s1", "e1", "e2")
    plan = await take_turn(remembered(store, "client", "a", "b", "c"), "d", "s1", "e3", "e4")
    assert (plan.reason, plan.base and plan.base.entry_uuid) == ("continued", "e2")
    following = await remembered(store, "client", "a", "b", "c", "d", "e").plan()
    assert (following.reason, following.base and following.base.turn_id) == ("continued", 2)


async def test_the_returned_id_is_stored_every_turn(store: StoreThread) -> None:
    await take_turn(remembered(store, "server", "a"), "b", "s1", "e1", "e2")
    await take_turn(remembered(store, "server", "c"), "d", "rotated", "e3", "e4")
    plan = await remembered(store, "server", "e").plan()
    assert plan.base is not None
    assert (plan.base.session_id, plan.base.entry_uuid) == ("rotated", "e4")


async def test_points_of_a_history_kept_here_stand_for_all_of_it(store: StoreThread) -> None:
    """A chat that was cleared and went on under one id: what was before it is in the session, so
    the session must not be taken for the conversation the client then resends."""
    await take_turn(remembered(store, "learn", "old"), "answer", "s1", "e1", "e2")
    appended = await take_turn(remembered(store, "learn", "a"), "b", "s1", "e3", "e4")
    assert appended.reason == "appended"
    plan = await remembered(store, "learn", "a", "b", "c").plan()
    assert (plan.reason, plan.base) == ("imported", None)
    whole = await remembered(store, "learn", "old", "answer", "a", "b", "c").plan()
    assert (whole.reason, whole.base and whole.base.entry_uuid) == ("continued", "e4")


async def test_what_was_learned_is_kept(store: StoreThread) -> None:
    first = remembered(store, "learn", "a")
    await take_turn(first, "b", "s1", "e1", "e2")
    assert not first.compaction
    second = remembered(store, "learn", "a", "b", "c")
    await take_turn(second, "d", "s1", "e3", "e4")
    assert not second.compaction
    lone = await remembered(store, "learn", "a title, please").plan()
    assert (lone.name, lone.reason) == ("fresh", "first_turn")


async def test_a_lost_session_is_named_until_another_takes_its_place(store: StoreThread) -> None:
    await take_turn(remembered(store, "server", "a"), "b", "s1", "e1", "e2")
    for _ in range(2):
        memory = remembered(store, "server", "c")
        again = await memory.plan_again(await memory.plan())
        assert (again.name, again.reason, again.base) == ("fresh", "memory_lost", None)
    client = remembered(store, "client", "a", "b", "c")
    assert (await client.plan_again(await client.plan())).reason == "imported"


async def test_an_answer_that_says_nothing_can_be_gone_on_from(store: StoreThread) -> None:
    await take_turn(remembered(store, "client", "a"), "", "s1", "e1", "e2")
    plan = await remembered(store, "client", "a", "", "b").plan()
    assert (plan.reason, len(plan.ask.blocks)) == ("first_turn", 2)


async def test_fleeting_memory_is_given_all_and_keeps_nothing() -> None:
    plan = await Fleeting("stateless", chain(talk("a", "b", "c"))).plan()
    assert (plan.name, plan.reason, len(plan.feed)) == ("import", "stateless", 2)
    assert await Fleeting("stateless", chain(talk("a"))).commit(answered(plan, "", "s")) is None
    assert Fleeting("stateless", chain(talk("a"))).lock is None


async def test_continued_is_given_the_last_message_only() -> None:
    memory = Continued(chain(talk("a", "b", "c")))
    plan = await memory.plan()
    assert (plan.name, plan.reason, plan.feed, plan.ask) == ("fresh", "continue", (), talk("c")[0])
    assert (memory.kind, memory.lock) == ("continue", "continue")


async def test_nothing_is_made_until_it_is_needed(tmp_path: Path) -> None:
    store = StoreThread(Home(tmp_path))
    store.close()
    store.close()
    assert os.listdir(tmp_path) == []
    with pytest.raises(StoreUnavailable, match="has been closed"):
        await store.ask(SessionStore.count)


async def test_a_commit_under_way_outlives_who_asked_for_it(store: StoreThread) -> None:
    memory = remembered(store, "client", "a")
    plan = await memory.plan()
    busy = threading.Event()
    store.writing._threads.submit(busy.wait)
    task = asyncio.create_task(memory.commit(answered(plan, "b", "s1", "e1", "e2")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()  # whoever comes next is to find it
    busy.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [row.internal_id for row in await store.ask(SessionStore.sessions)] == ["s1"]


async def tried(memory: Remembered) -> Plan:
    """A turn that begins and does not come to its end."""
    plan = await memory.plan()
    await memory.begin(plan)
    return plan


async def done(memory: Remembered, answer: str, session: str, *entries: str) -> Plan:
    plan = await tried(memory)
    assert await memory.commit(answered(plan, answer, session, *entries)) is not None
    return plan


async def test_a_repeated_turn_takes_the_place_of_the_first(store: StoreThread) -> None:
    await done(remembered(store, "server", "a"), "A", "s1", "e1", "e2")
    await done(remembered(store, "server", "b"), "B", "s1", "e3", "e4")
    plan = await tried(remembered(store, "server", "b", attempt=AGAIN))
    assert (plan.name, plan.reason) == ("fork", "retried")
    assert plan.base is not None and plan.base.entry_uuid == "e2"


async def test_a_repeated_first_turn_begins_anew(store: StoreThread) -> None:
    await done(remembered(store, "server", "a"), "A", "s1", "e1", "e2")
    plan = await tried(remembered(store, "server", "a", attempt=AGAIN))
    assert (plan.name, plan.reason, plan.base) == ("fresh", "retried", None)


async def test_a_retry_of_what_was_never_answered_costs_no_turn(store: StoreThread) -> None:
    """The same words twice, and the second time fails: its retry must not undo the first."""
    await done(remembered(store, "server", "ok"), "A", "s1", "e1", "e2")
    await tried(remembered(store, "server", "ok"))
    for _ in range(2):
        plan = await tried(remembered(store, "server", "ok", attempt=AGAIN))
        assert (plan.reason, plan.base and plan.base.entry_uuid) == ("appended", "e2")


async def test_a_retry_that_fails_is_still_a_retry(store: StoreThread) -> None:
    await done(remembered(store, "server", "a"), "A", "s1", "e1", "e2")
    await done(remembered(store, "server", "b"), "B", "s1", "e3", "e4")
    for _ in range(2):
        plan = await tried(remembered(store, "server", "b", attempt=AGAIN))
        assert (plan.reason, plan.base and plan.base.entry_uuid) == ("retried", "e2")


async def test_an_idempotency_key_makes_a_turn_known(store: StoreThread) -> None:
    one, other = Attempt(key="k1"), Attempt(key="k2")
    await done(remembered(store, "server", "ok", attempt=one), "A", "s1", "e1", "e2")
    assert (await remembered(store, "server", "ok", attempt=one).plan()).reason == "retried"
    assert (await remembered(store, "server", "ok", attempt=other).plan()).reason == "appended"
    assert (await remembered(store, "server", "no", attempt=one).plan()).reason == "appended"


async def test_starting_over_leaves_the_session_behind(store: StoreThread) -> None:
    await done(remembered(store, "server", "a"), "A", "s1", "e1", "e2")
    plan = await done(
        remembered(store, "server", "b", attempt=Attempt(anew=True)), "B", "s2", "e3", "e4"
    )
    assert (plan.name, plan.reason, plan.base) == ("fresh", "started_over", None)
    plan = await remembered(store, "server", "c").plan()
    assert plan.base is not None and plan.base.session_id == "s2"


async def test_losing_what_only_the_bridge_held_can_be_an_error(store: StoreThread) -> None:
    await done(remembered(store, "server", "a"), "A", "s1", "e1", "e2")
    memory = remembered(store, "server", "b", refuse_loss=True)
    with pytest.raises(MemoryLost, match="begin anew"):
        await memory.plan_again(await memory.plan())
    plan = await remembered(store, "server", "b", refuse_loss=True).plan()
    assert (plan.name, plan.reason) == ("fresh", "first_turn")


async def test_what_the_request_still_holds_is_no_loss(store: StoreThread) -> None:
    await done(remembered(store, "server", "a"), "A", "s1", "e1", "e2")
    memory = remembered(store, "server", "a", "A", "b", refuse_loss=True)
    plan = await memory.plan_again(await memory.plan())
    assert (plan.name, plan.reason, len(plan.feed)) == ("import", "imported", 2)


async def locked(memory: Remembered) -> object:
    await memory.plan()
    return memory.lock


async def test_only_turns_that_go_on_in_one_session_wait_for_each_other(
    store: StoreThread,
) -> None:
    await done(remembered(store, "client", "a"), "A", "s1", "e1", "e2")
    goes_on = await locked(remembered(store, "client", "a", "A", "b"))
    assert goes_on is not None
    assert goes_on == await locked(remembered(store, "client", "a", "A", "c"))
    assert await locked(remembered(store, "client", "title of: a")) is None
    assert await locked(remembered(store, "client", "a", "rewritten", "b")) is None


async def test_what_is_kept_here_or_still_to_be_learnt_is_one_at_a_time(
    store: StoreThread,
) -> None:
    for history in ("server", "learn"):
        first, other = remembered(store, history, "a"), remembered(store, history, "b")
        assert await locked(first) == await locked(other) is not None
    await done(remembered(store, "learn", "a"), "A", "s1", "e1", "e2")
    lone, whole = remembered(store, "learn", "x"), remembered(store, "learn", "a", "A", "b")
    assert await locked(lone) == await locked(whole)
    await done(whole, "B", "s1", "e3", "e4")
    assert await locked(remembered(store, "learn", "x")) is None
