"""Answers that say nothing: what comes next is one message of the user with what came before."""

from __future__ import annotations

import pytest

from sessionbridge.model import Message, Origin, ToolUseBlock
from tests.support.bridge_fixtures import CLIENT_HELD, LEARNT, SERVER_HELD, House, house
from tests.support.scripted_dispatcher import Conversation
from tests.support.spoken import assert_same, assistant, result, user
from tests.turns.test_bridge_tools import reason, send

__all__ = ["house"]

WELL = assistant("Well")


def says_nothing_to_hm(seen: Conversation) -> str:
    return "" if seen[-1].blocks[-1].get("text") == "Hm" else "Well"


@pytest.fixture
def silent(house: House) -> House:
    house.dispatcher.answer = says_nothing_to_hm
    return house


async def shown(house: House, *talk: Message, origin: Origin) -> Conversation:
    assert (await send(house, *talk, origin=origin)).status == 200
    return house.dispatcher.seen[-1]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_history_kept_here_goes_on_before_them(silent: House, restarts: bool) -> None:
    one, hm, more = user("One"), user("Hm"), user("More")
    await send(silent, one, origin=SERVER_HELD)
    for _ in range(2):
        await send(silent, hm, origin=SERVER_HELD)
        if restarts:
            silent.restart()
    answer = await send(silent, more, origin=SERVER_HELD)
    assert reason(answer) == "imported"
    seen = silent.dispatcher.seen[-1]
    assert_same(seen, (one, WELL, user("Hm", "Hm", "More")))
    assert [message.role for message in seen] == ["user", "assistant", "user"]
    assert reason(await send(silent, one, origin=SERVER_HELD)) == "appended"
    assert_same(silent.dispatcher.seen[-1], (*seen, WELL, one))


async def test_a_history_kept_here_does_not_need_the_session_it_followed(silent: House) -> None:
    """Each session holds all of its conversation: what it was forked from may be gone."""
    for said in (user("One"), user("Hm"), user("Hm")):
        await send(silent, said, origin=SERVER_HELD)
    first, *_, last = (job.session_id for job in silent.dispatcher.jobs)
    assert first != last
    silent.dispatcher.lose(first)
    answer = await send(silent, user("More"), origin=SERVER_HELD)
    assert reason(answer) == "imported"
    assert_same(silent.dispatcher.seen[-1], (user("One"), WELL, user("Hm", "Hm", "More")))


async def test_it_may_be_the_first(silent: House) -> None:
    await send(silent, user("Hm"), origin=SERVER_HELD)
    assert_same(await shown(silent, user("More"), origin=SERVER_HELD), (user("Hm", "More"),))


@pytest.mark.parametrize("origin", [LEARNT, CLIENT_HELD])
async def test_a_client_that_resends_is_known_although_it_has_no_answer_to_show(
    silent: House, origin: Origin
) -> None:
    talk = [user("Hm")]
    await send(silent, *talk, origin=origin)
    for words in ("Hm", "More"):
        talk.append(user(words))
        assert_same(await shown(silent, *talk, origin=origin), talk)
    talk += [WELL, user("And?")]
    assert_same(await shown(silent, *talk, origin=origin), talk)
    assert len(silent.dispatcher.seen[-1]) == 3


async def test_a_history_kept_here_stays_where_a_client_sends_all_that_is_unanswered(
    silent: House,
) -> None:
    for talk in (user("One"), user("Hm")):
        await send(silent, talk, origin=LEARNT)
    seen = await shown(silent, user("Hm", "More"), origin=LEARNT)
    assert_same(seen, (user("One"), WELL, user("Hm", "Hm", "More")))


async def test_a_client_that_does_not_resend_is_known_too(silent: House) -> None:
    await send(silent, user("Hm"), origin=LEARNT)
    assert_same(await shown(silent, user("More"), origin=LEARNT), (user("Hm", "More"),))
    expected = user("Hm", "More"), WELL, user("And?")
    assert_same(await shown(silent, user("And?"), origin=LEARNT), expected)


@pytest.mark.parametrize("kept", ["another question", "the same results"])
async def test_results_of_calls_that_the_client_shows_are_no_answer_to_what_is_kept(
    silent: House, kept: str
) -> None:
    """They stand once, behind their calls, where the kept history ends in what nothing was said
    to."""
    call: ToolUseBlock = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    shown = user("Use it"), assistant("I will.", call), user(result(call, "3"), "Hm")
    await send(
        silent, *(shown if kept == "the same results" else (user("Hm"),)), origin=SERVER_HELD
    )
    talk = *shown[:-1], user(*shown[-1].blocks, "More")
    await send(silent, *talk, origin=SERVER_HELD)
    assert_same(silent.dispatcher.seen[-1], talk)


async def test_results_without_calls_are_refused_where_none_waits(silent: House) -> None:
    await send(silent, user("Hm"), origin=SERVER_HELD)
    call: ToolUseBlock = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    answer = await send(silent, user(result(call, "3")), origin=SERVER_HELD)
    assert answer.status == 400
    assert "answer no call that waits here" in answer.body.decode()
    assert len(silent.dispatcher.seen) == 1
