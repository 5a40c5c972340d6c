"""A history that only the bridge holds, of a session that the CLI refuses to go on with: it is
brought in from what the session's file still holds."""

from __future__ import annotations

import json

import pytest

from sessionbridge.model import Attempt, Message, Origin
from tests.support.bridge_fixtures import CLIENT_HELD, SERVER_HELD, Answer, House, ask, house
from tests.support.spoken import Talk, assert_same, assistant, text_in, user
from tests.turns.test_bridge_tools import reason, send

__all__ = ["house"]

ONE, TWO, THREE = user("One"), user("Two"), user("Three")


async def two_turns(house: House, origin: Origin = SERVER_HELD) -> Talk:
    """What was said in them, as the model sees it in a third."""
    answers = iter(["First", "Second", "Third", "Fourth"])
    house.dispatcher.answer = lambda _: next(answers)
    await send(house, ONE, origin=origin)
    second = (ONE, assistant("First"), TWO) if origin is CLIENT_HELD else (TWO,)
    await send(house, *second, origin=origin)
    house.dispatcher.refuse(house.dispatcher.jobs[-1].session_id)
    return ONE, assistant("First"), TWO, assistant("Second")


async def again(house: House, message: Message) -> Answer:
    """As a client's library sends a request once more."""
    said = [{"role": "user", "content": text_in(message)}]
    sent = json.dumps({"model": "claude-x", "max_tokens": 9, "messages": said}).encode()
    return await ask(house.bridge, sent, SERVER_HELD, attempt=Attempt(again=True))


@pytest.mark.parametrize("when_lost", ["fresh", "error"])
async def test_it_is_brought_in_whole(house: House, when_lost: str) -> None:
    house.change(memory_lost=when_lost)
    talk = await two_turns(house)
    answer = await send(house, THREE, origin=SERVER_HELD)
    assert (answer.status, reason(answer)) == (200, "rebuilt")
    assert_same(house.dispatcher.seen[-1], (*talk, THREE))
    assert reason(await send(house, user("Four"), origin=SERVER_HELD)) == "appended"
    assert_same(house.dispatcher.seen[-1], (*talk, THREE, assistant("Third"), user("Four")))


async def test_nothing_is_rebuilt_of_what_the_client_holds(house: House) -> None:
    talk = await two_turns(house, CLIENT_HELD)
    answer = await send(house, *talk, THREE, origin=CLIENT_HELD)
    assert (answer.status, reason(answer)) == (200, "imported")
    assert_same(house.dispatcher.seen[-1], (*talk, THREE))


async def test_the_same_once_more_is_asked_after_what_came_before_it(house: House) -> None:
    await two_turns(house)
    answer = await again(house, TWO)
    assert (answer.status, reason(answer)) == (200, "rebuilt")
    assert_same(house.dispatcher.seen[-1], (ONE, assistant("First"), TWO))


async def test_where_the_file_is_gone_too_the_loss_is_told(house: House) -> None:
    await two_turns(house)
    house.dispatcher.lose(house.dispatcher.jobs[-1].session_id)
    assert reason(await send(house, THREE, origin=SERVER_HELD)) == "memory_lost"


async def test_no_library_takes_it_for_a_conflict_that_passes(house: House) -> None:
    """It would send the request once more, and so begin anew what nobody wants lost."""
    house.change(memory_lost="error")
    await two_turns(house)
    house.dispatcher.lose(house.dispatcher.jobs[-1].session_id)
    answer = await send(house, THREE, origin=SERVER_HELD)
    assert (answer.status, answer.headers.get("x-should-retry")) == (409, "false")
    assert reason(await send(house, THREE, origin=SERVER_HELD)) == "first_turn"
