"""What is kept of responses in the background, while they are under way and after."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest

from sessionbridge.model import Attempt, TurnRequest
from sessionbridge.turns import background
from sessionbridge.turns.background import Running
from tests.support.bridge_fixtures import Answer, House, ask, house

__all__ = ["house"]

ANN, BOB = Attempt(caller="ann"), Attempt(caller="bob")


async def respond(house: House, said: str, attempt: Attempt = ANN, **fields: Any) -> Answer:
    request = json.dumps({"model": "claude-x", "input": said, **fields}).encode()
    return await ask(house.bridge, request, None, "responses", attempt)


def known(house: House) -> list[Running]:
    return list(house.bridge._background._known.values())


async def ended(house: House) -> None:
    for running in known(house):
        assert running.task is not None
        await running.task


def requests() -> int:
    gc.collect()
    return sum(type(one) is TurnRequest for one in gc.get_objects())


async def test_nothing_of_its_request_stays_once_it_has_ended(house: House) -> None:
    before = requests()
    for _ in range(3):
        await respond(house, "What was asked", background=True)
    await ended(house)
    assert [one.log.document["status"] for one in known(house)] == 3 * ["completed"]
    assert requests() == before


async def test_nothing_stays_of_those_that_ended_first(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_MOST_BYTES", 1)
    logs = []
    for _ in range(3):
        await respond(house, "Hello", background=True)
        await ended(house)
        logs.append(weakref.ref(known(house)[-1].log))
    gc.collect()
    assert [log() is None for log in logs] == [True, True, False]


async def test_one_that_is_under_way_is_not_gone_on_from(house: House) -> None:
    house.dispatcher.gate = asyncio.Event()
    id_ = (await respond(house, "Hello", background=True)).json["id"]
    await house.dispatcher.waiting.wait()
    for attempt, words in ((ANN, "still under way"), (BOB, "no longer known")):
        answer = await respond(house, "And?", attempt, previous_response_id=id_)
        assert answer.status == 400 and words in answer.json["error"]["message"]
        assert answer.json["error"]["param"] == "previous_response_id"
    house.dispatcher.gate.set()
    await ended(house)
    assert (await respond(house, "And?", previous_response_id=id_)).status == 200


@pytest.mark.parametrize(("unkeyed", "kept"), [("stateless", True), ("continue", False)])
async def test_it_is_stored_where_conversations_are(house: House, unkeyed: str, kept: bool) -> None:
    house.change(unkeyed=unkeyed)
    await respond(house, "Hello", background=True)
    (running,) = known(house)
    assert not running.is_kept
    await ended(house)
    assert (running.log.document["status"], running.is_kept) == ("completed", kept)
