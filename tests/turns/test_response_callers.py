"""A response's id is of use to who got it: to the conversation that a request names, and where it
names none, to the same credentials. A conversation of the API's own is of use to these alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from sessionbridge.model import Attempt, Origin
from sessionbridge.sessions.origins.table import Origins
from tests.support.bridge_fixtures import SERVER_HELD, Answer, House, ask, house
from tests.support.known_clients import add_client

__all__ = ["house"]

ANN, BOB = Attempt(caller="ann"), Attempt(caller="bob")
CONVERSATION = Origin("openai", "conv_1", "conversation", "server", by_caller=True)
OTHER = replace(SERVER_HELD, external_id="another conversation")


@pytest.fixture
def kept(house: House) -> House:
    house.change(unkeyed="stateless")
    return house


async def respond(
    house: House, origin: Origin | None, attempt: Attempt, said: Any = "Hello", **fields: Any
) -> Answer:
    request = {"model": "claude-x", "input": said, **fields}
    return await ask(house.bridge, json.dumps(request).encode(), origin, "responses", attempt)


@pytest.mark.parametrize(
    ("first", "then", "status"),
    [
        pytest.param((None, ANN), (None, ANN), 200, id="the same credentials"),
        pytest.param((None, ANN), (None, BOB), 400, id="other credentials"),
        pytest.param((SERVER_HELD, ANN), (SERVER_HELD, ANN), 200, id="the same conversation"),
        pytest.param((SERVER_HELD, ANN), (OTHER, ANN), 400, id="another conversation"),
        pytest.param((SERVER_HELD, ANN), (None, BOB), 400, id="no conversation, others' key"),
        pytest.param((None, ANN), (OTHER, ANN), 400, id="a conversation that did not make it"),
    ],
)
async def test_a_response_is_gone_on_from_by_who_got_it(
    kept: House,
    first: tuple[Origin | None, Attempt],
    then: tuple[Origin | None, Attempt],
    status: int,
) -> None:
    given = (await respond(kept, *first)).json
    answer = await respond(kept, *then, "And?", previous_response_id=given["id"])
    assert answer.status == status
    if status == 400:
        assert answer.json["error"]["param"] == "previous_response_id"
        assert "no longer known" in answer.json["error"]["message"]
    assert len(kept.dispatcher.seen) == (2 if status == 200 else 1)


@pytest.mark.parametrize(("attempt", "status"), [(ANN, 200), (BOB, 404)])
async def test_an_item_is_referred_to_by_who_got_it(
    kept: House, attempt: Attempt, status: int
) -> None:
    [item] = (await respond(kept, None, ANN)).json["output"]
    said = [{"type": "item_reference", "id": item["id"]}, {"role": "user", "content": "And?"}]
    asked = [{"role": "user", "content": "Hello"}, *said]
    answer = await respond(kept, None, attempt, asked)
    assert answer.status == status
    assert len(kept.dispatcher.seen) == (2 if status == 200 else 1)


@pytest.mark.parametrize(("attempt", "status"), [(ANN, 200), (BOB, 404), (Attempt(), 404)])
async def test_a_conversation_goes_on_for_who_began_it(
    kept: House, attempt: Attempt, status: int
) -> None:
    await respond(kept, CONVERSATION, ANN, conversation="conv_1")
    for anew in (False, True):
        sent = replace(attempt, anew=anew)
        answer = await respond(kept, CONVERSATION, sent, "And?", conversation="conv_1")
        assert answer.status == status
        if status == 404:
            error = answer.json["error"]
            assert error["message"] == "Conversation with id 'conv_1' not found."
            assert error["type"] == "invalid_request_error"
    assert len(kept.dispatcher.seen) == (3 if status == 200 else 1)
    # Nothing of the attempts is kept: it goes on for who began it.
    assert (await respond(kept, CONVERSATION, ANN, "Still?")).status == 200


async def test_each_has_a_conversation_of_their_own_name(kept: House) -> None:
    other = replace(CONVERSATION, external_id="conv_2")
    assert (await respond(kept, CONVERSATION, ANN)).status == 200
    assert (await respond(kept, other, BOB)).status == 200
    assert (await respond(kept, CONVERSATION, ANN, "And?")).status == 200


async def test_who_begins_at_the_same_moment_shares_nothing(kept: House) -> None:
    answers = await asyncio.gather(*(respond(kept, CONVERSATION, one) for one in (ANN, BOB)))
    assert sorted(answer.status for answer in answers) == [200, 404]


@pytest.mark.parametrize(("attempt", "status"), [(ANN, 200), (BOB, 404)])
async def test_naming_the_conversation_finds_no_item_of_it(
    kept: House, attempt: Attempt, status: int
) -> None:
    [item] = (await respond(kept, CONVERSATION, ANN)).json["output"]
    asked = [{"type": "item_reference", "id": item["id"]}, {"role": "user", "content": "And?"}]
    answer = await respond(kept, CONVERSATION, attempt, asked)
    assert answer.status == status
    if status == 404:
        assert answer.json["error"]["message"] == f"Item with id '{item['id']}' not found."


def test_the_api_s_own_conversation_is_known_as_that() -> None:
    for named in ("conv_1", {"id": "conv_1"}):
        assert Origins.default().detect({}, {"conversation": named}) == CONVERSATION


async def test_clients_share_no_conversation_of_all(house: House) -> None:
    house.change(unkeyed="continue")
    assert (await respond(house, None, Attempt())).status == 200
    add_client(house.settings.home, "ann")
    for attempt in (Attempt(client="ann"), Attempt()):
        refused = await respond(house, None, attempt)
        assert refused.status == 403
        assert "may be another client's" in refused.json["error"]["message"]
    assert len(house.dispatcher.seen) == 1
