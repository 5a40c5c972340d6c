"""Requests that ask for no answer: the process of the turn that follows is to be there."""

from __future__ import annotations

import asyncio

from tests.support.bridge_fixtures import House, house

__all__ = ["house"]

BEGIN = ("user", "my name is Ann")


async def test_it_is_planned_as_the_turn_that_follows_and_is_none(house: House) -> None:
    first = await house.ask([BEGIN])
    history = [BEGIN, ("assistant", first.text)]
    warm = await house.ask([*history, ("user", "?")], max_tokens=0)
    assert (warm.json["content"], warm.json["stop_reason"]) == ([], "max_tokens")
    assert "x-sessionbridge-turn" not in warm.headers
    (job,) = house.dispatcher.prepared
    session = first.headers["x-sessionbridge-session"]
    assert (job.plan.name, job.session_id, job.parameters.max_tokens) == ("resume", session, None)
    after = await house.ask([*history, ("user", "who am I?")])
    assert after.headers["x-sessionbridge-turn"] == "2"
    assert after.headers["x-sessionbridge-reason"] == "continued"


async def test_it_waits_for_no_turn_under_way(house: House) -> None:
    first = await house.ask([BEGIN])
    history = [BEGIN, ("assistant", first.text), ("user", "?")]
    house.dispatcher.gate = asyncio.Event()
    turn = asyncio.create_task(house.ask(history))
    await house.dispatcher.waiting.wait()
    warm = await house.ask(history, max_tokens=0)
    assert warm.json["content"] == []
    assert house.dispatcher.prepared == []
    house.dispatcher.gate.set()
    await turn


async def test_a_session_that_is_lost_is_for_the_turn_to_find(house: House) -> None:
    first = await house.ask([BEGIN])
    history = [BEGIN, ("assistant", first.text), ("user", "?")]
    house.dispatcher.sessions.clear()
    assert (await house.ask(history, max_tokens=0)).status == 200
    assert (await house.ask(history)).headers["x-sessionbridge-reason"] == "imported"
