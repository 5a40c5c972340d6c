"""Responses that are deleted by their ids, with all that was said in them."""

from __future__ import annotations

import asyncio
import json

import pytest

from sessionbridge.errors import ItemNotFound
from sessionbridge.model import Attempt
from sessionbridge.sessions.store.places import Home
from sessionbridge.stored.responses import Responses
from tests.support.bridge_fixtures import Answer, House, ask, house

__all__ = ["house"]

ANN = Attempt(caller="ann")


async def respond(house: House, said: str, previous: str | None = None) -> Answer:
    request = {"model": "claude-x", "input": said, "previous_response_id": previous}
    return await ask(house.bridge, json.dumps(request).encode(), None, "responses", ANN)


def responses(house: House) -> Responses:
    return Responses(house.thread, lambda _: house.dispatcher, house.bridge._locks)


async def delete(house: House, id_: str) -> None:
    assert (await responses(house).delete(id_, None, "ann"))["deleted"]


async def test_one_is_deleted_once_the_turn_that_goes_on_from_it_has_ended(house: House) -> None:
    first = (await respond(house, "One")).json["id"]
    house.dispatcher.gate = asyncio.Event()
    going_on = asyncio.create_task(respond(house, "Two", first))
    await house.dispatcher.waiting.wait()
    deleting = asyncio.create_task(delete(house, first))
    tickets = Home(house.settings.home).locks_folder
    while not deleting.done() and len(list(tickets.iterdir())) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    house.dispatcher.gate.set()
    second = (await going_on).json["id"]
    await deleting
    with pytest.raises(ItemNotFound):
        await responses(house).retrieve(first, None, "ann")
    assert (await respond(house, "Or two", first)).status == 400
    assert (await responses(house).retrieve(second, None, "ann"))["status"] == "completed"
    third = await respond(house, "Three", second)
    assert third.json["output"][0]["content"][0]["text"] == "5: Three"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
async def test_the_words_of_a_chain_go_with_the_last_of_its_responses(
    house: House, order: tuple[int, ...]
) -> None:
    ids: list[str] = []
    for said in ("One", "Two", "Three"):
        ids.append((await respond(house, said, ids[-1] if ids else None)).json["id"])
    for place in order[:-1]:
        await delete(house, ids[place])
    assert house.dispatcher.sessions
    still = await responses(house).retrieve(ids[order[-1]], None, "ann")
    assert still["status"] == "completed"
    await delete(house, ids[order[-1]])
    assert not house.dispatcher.sessions


async def test_a_branch_keeps_its_words(house: House) -> None:
    first = (await respond(house, "One")).json["id"]
    second = (await respond(house, "Two", first)).json["id"]
    branch = (await respond(house, "Or two", first)).json["id"]
    for id_ in (first, second):
        await delete(house, id_)
    assert len(house.dispatcher.sessions) == 1
    on = await respond(house, "Three", branch)
    assert on.json["output"][0]["content"][0]["text"] == "5: Three"
