"""Requests that bring the results of tools: the open turn goes on, or all of it is brought in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from sessionbridge.model import Message, Origin
from tests.support.bridge_fixtures import CLIENT_HELD, SERVER_HELD, Answer, House, ask, house
from tests.support.scripted_dispatcher import Conversation
from tests.support.spoken import assert_same, assistant, user
from tests.support.tool_rounds import found, text, use

__all__ = ["house"]

CALL = assistant("I look", use("toolu_1", at="it"), use("toolu_2", "other"))
RESULTS = user(found("toolu_1", "one"), found("toolu_2", "two"))


def calls_when_told_to_look(seen: Conversation) -> str | Message:
    last = seen[-1].blocks[-1]
    return CALL if last.get("text") == "Look" else "Well"


@pytest.fixture
def looking(house: House) -> House:
    house.dispatcher.answer = calls_when_told_to_look
    return house


async def send(
    house: House, *talk: Message, origin: Origin | None = CLIENT_HELD, **fields: Any
) -> Answer:
    messages = [{"role": m.role, "content": [dict(b) for b in m.blocks]} for m in talk]
    tools = [{"name": n, "input_schema": {"type": "object"}} for n in ("look", "other")]
    request = {"model": "claude-x", "max_tokens": 9, "messages": messages, "tools": tools}
    return await ask(house.bridge, json.dumps(request | fields).encode(), origin)


def reason(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-sessionbridge-reason"]


def shown(house: House) -> Sequence[Message]:
    return house.dispatcher.seen[-1]


HELLO = (user("Hello"), assistant("Well"))
ROUND = (user("Look"), CALL, RESULTS)


async def test_the_turn_that_waits_goes_on(looking: House) -> None:
    first = await send(looking, HELLO[0])
    calls = await send(looking, *HELLO, ROUND[0])
    assert calls.json["stop_reason"] == "tool_use"
    assert [block["type"] for block in calls.json["content"]] == ["text", "tool_use", "tool_use"]
    last = await send(looking, *HELLO, *ROUND)
    assert reason(last) == "tool_results"
    assert_same(shown(looking), (*HELLO, *ROUND))
    more = await send(looking, *HELLO, *ROUND, assistant("Well"), user("Thanks"))
    assert reason(more) == "continued"
    assert_same(shown(looking), (*HELLO, *ROUND, assistant("Well"), user("Thanks")))
    sessions = {answer.headers["x-sessionbridge-session"] for answer in (first, calls, last, more)}
    assert len(sessions) == 1


async def test_results_without_their_process_are_brought_in(looking: House) -> None:
    await send(looking, HELLO[0])
    await send(looking, *HELLO, ROUND[0])
    looking.dispatcher.waiting_for_tools.clear()
    last = await send(looking, *HELLO, *ROUND)
    assert reason(last) == "tools_imported"
    assert_same(shown(looking), (*HELLO, *ROUND))
    more = await send(looking, *HELLO, *ROUND, assistant("Well"), user("Thanks"))
    assert reason(more) == "continued"
    assert_same(shown(looking), (*HELLO, *ROUND, assistant("Well"), user("Thanks")))


@pytest.mark.parametrize("beside", [True, False], ids=["words beside them", "another order"])
async def test_what_no_open_call_can_return_is_brought_in(looking: House, beside: bool) -> None:
    await send(looking, ROUND[0])
    looking.dispatcher.waiting_for_tools.clear()
    extra = (text("And?"),) if beside else ()
    ask = user(*RESULTS.blocks[::-1], *extra)
    assert reason(await send(looking, *ROUND[:2], ask)) == "tools_imported"
    assert_same(shown(looking), (*ROUND[:2], ask))


async def test_results_are_brought_in_once_more_after_a_retry(looking: House) -> None:
    await send(looking, ROUND[0])
    assert reason(await send(looking, *ROUND)) == "tool_results"
    assert reason(await send(looking, *ROUND)) == "tools_imported"
    assert_same(shown(looking), ROUND)


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_history_kept_here_is_brought_in_from_the_transcript(
    looking: House, restarts: bool
) -> None:
    """The client sends nothing but the results."""
    await send(looking, HELLO[0], origin=SERVER_HELD)
    assert reason(await send(looking, ROUND[0], origin=SERVER_HELD)) == "appended"
    if restarts:
        looking.restart()
    looking.dispatcher.waiting_for_tools.clear()
    last = await send(looking, CALL, RESULTS, origin=SERVER_HELD)
    assert reason(last) == "tools_imported"
    assert_same(shown(looking), (*HELLO, *ROUND))
    assert reason(await send(looking, user("Thanks"), origin=SERVER_HELD)) == "appended"
    assert_same(shown(looking), (*HELLO, *ROUND, assistant("Well"), user("Thanks")))


async def test_results_that_were_brought_in_can_be_sent_once_more(looking: House) -> None:
    """Also where nothing of their calls is in the request."""
    await send(looking, HELLO[0], origin=SERVER_HELD)
    await send(looking, ROUND[0], origin=SERVER_HELD)
    looking.dispatcher.waiting_for_tools.clear()
    for _ in range(3):
        assert reason(await send(looking, RESULTS, origin=SERVER_HELD)) == "tools_imported"
        assert_same(shown(looking), (*HELLO, *ROUND))


@pytest.mark.parametrize("loses", [False, True], ids=["other calls", "lost session"])
async def test_results_of_calls_that_the_request_shows_begin_anew(
    looking: House, loses: bool
) -> None:
    told = await send(looking, HELLO[0], origin=SERVER_HELD)
    if loses:
        looking.dispatcher.lose(told.headers["x-sessionbridge-session"])
    for _ in range(2):
        assert reason(await send(looking, *ROUND, origin=SERVER_HELD)) == "tools_imported"
        assert_same(shown(looking), ROUND)
    assert reason(await send(looking, user("Thanks"), origin=SERVER_HELD)) == "appended"
    assert_same(shown(looking), (*ROUND, assistant("Well"), user("Thanks")))


async def test_the_end_of_a_longer_history_is_no_beginning(looking: House) -> None:
    """A request that begins with its calls would cost the conversation all that was before them."""
    await send(looking, HELLO[0], origin=SERVER_HELD)
    refused = await send(looking, CALL, RESULTS, origin=SERVER_HELD)
    assert refused.status == 400
    assert reason(await send(looking, user("Thanks"), origin=SERVER_HELD)) == "appended"
    assert_same(shown(looking), (*HELLO, user("Thanks")))


async def test_a_history_that_was_given_up_does_not_come_back(looking: House) -> None:
    """Other calls than those that wait begin it anew, also for what is brought in after them."""
    await send(looking, HELLO[0], origin=SERVER_HELD)
    await send(looking, ROUND[0], origin=SERVER_HELD)
    other = user("Other"), assistant(use("toolu_9")), user(found("toolu_9"))
    looking.dispatcher.answer = lambda seen: assistant(use("toolu_10"))
    assert reason(await send(looking, *other, origin=SERVER_HELD)) == "tools_imported"
    looking.dispatcher.waiting_for_tools.clear()
    looking.dispatcher.answer = calls_when_told_to_look
    await send(looking, user(found("toolu_10")), origin=SERVER_HELD)
    assert_same(shown(looking), (*other, assistant(use("toolu_10")), user(found("toolu_10"))))


async def test_a_history_kept_here_goes_on_where_it_waits(looking: House) -> None:
    await send(looking, ROUND[0], origin=SERVER_HELD)
    last = await send(looking, RESULTS, origin=SERVER_HELD)
    assert reason(last) == "tool_results"
    assert_same(shown(looking), ROUND)


@pytest.mark.parametrize(
    "ask", [user("Never mind"), user(found("toolu_1"))], ids=["no result", "one of two"]
)
async def test_a_call_without_its_result_is_named(looking: House, ask: Message) -> None:
    await send(looking, ROUND[0], origin=SERVER_HELD)
    refused = await send(looking, ask, origin=SERVER_HELD)
    assert refused.status == 400
    missing = "toolu_2" if ask.blocks[0]["type"] == "tool_result" else "toolu_1"
    assert missing in refused.json["error"]["message"]
    # Nothing is lost by that.
    assert reason(await send(looking, RESULTS, origin=SERVER_HELD)) == "tool_results"
