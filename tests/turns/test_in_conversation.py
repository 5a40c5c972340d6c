"""Turns in a conversation that was created: whatever becomes of them and of their sessions, the
model is shown what its items say, and these say what was answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from sessionbridge.claude.transcript.conversations import Added
from sessionbridge.errors import ClaudeFailed, ItemNotFound
from sessionbridge.model import Attempt, Message, Origin
from sessionbridge.stored.conversations import Conversations
from sessionbridge.stored.responses import Responses
from tests.support.bridge_fixtures import LEARNT, SERVER_HELD, Answer, House, ask, house
from tests.support.scripted_dispatcher import words
from tests.support.spoken import assistant
from tests.support.tool_rounds import use

__all__ = ["house"]

ANN = Attempt(caller="ann", client="ann")
GIVEN = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "First"}]
SHOWN = [("user", "One"), ("assistant", "First")]


class Talk:
    """With a conversation that begins with what is `GIVEN`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.id = ""

    async def create(self, items: Any = GIVEN) -> None:
        self.id, _ = await self._house.conversations.create("ann", items, {})

    async def say(self, given: Any, attempt: Attempt = ANN, **fields: Any) -> Answer:
        origin = Origin("openai", self.id, "conversation", "server", by_caller=True)
        request = {"model": "claude-x", "conversation": self.id, "input": given, **fields}
        return await ask(self._house.bridge, _json(request), origin, "responses", attempt)

    @property
    def kept(self) -> Conversations:
        bridge, thread = self._house.bridge, self._house.thread
        stands = thread, bridge._dispatcher, bridge._locks
        return Conversations(self._house.conversations, *stands, ANN.client)

    async def add(self, *items: Mapping[str, Any]) -> None:
        await self.kept.add_items(self.id, "ann", items)

    async def items(self) -> list[dict[str, Any]]:
        page = await self.kept.items(self.id, "ann", {"order": "asc", "limit": "100"})
        found: list[dict[str, Any]] = page["data"]
        return found

    async def texts(self) -> list[str]:
        return [part["text"] for item in await self.items() for part in item.get("content", ())]

    @property
    def seen(self) -> list[tuple[str, str]]:
        return words(self._house.dispatcher.seen[-1])

    @property
    def reason(self) -> str:
        return self._house.dispatcher.jobs[-1].plan.reason


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture
async def talk(house: House) -> Talk:
    answers = iter(["Second", "Third", "Fourth", "Fifth"])
    house.dispatcher.answer = lambda _: next(answers)
    made = Talk(house)
    await made.create()
    return made


async def test_it_begins_with_what_was_given_and_goes_on(talk: Talk) -> None:
    assert (await talk.say("Two")).status == 200
    assert (talk.seen, talk.reason) == ([*SHOWN, ("user", "Two")], "imported")
    await talk.say("Three")
    assert talk.seen[2:] == [("user", "Two"), ("assistant", "Second"), ("user", "Three")]
    assert talk.reason == "continued"
    assert await talk.texts() == ["One", "First", "Two", "Second", "Three", "Third"]


async def test_a_turn_that_fails_leaves_it_as_it_was(house: House, talk: Talk) -> None:
    house.dispatcher.fails = ClaudeFailed("It broke.")
    assert (await talk.say("Two")).status == 502
    house.dispatcher.fails, house.dispatcher.breaks = None, ClaudeFailed("It broke.")
    await talk.say("Two")
    house.dispatcher.breaks = None
    assert await talk.texts() == ["One", "First"]
    await talk.say("Three")
    assert talk.seen == [*SHOWN, ("user", "Three")]


async def test_a_turn_that_was_not_committed_is_none_of_it(house: House, talk: Talk) -> None:
    await talk.say("Two")
    lost = [{"id": "msg_x", "type": "message", "role": "user", "content": []}]
    await house.conversations.add(talk.id, Added(None, lost, "never committed"))
    assert await talk.texts() == ["One", "First", "Two", "Second"]
    await talk.say("Three")
    assert await talk.texts() == ["One", "First", "Two", "Second", "Three", "Third"]


@pytest.mark.parametrize("attempt", [replace(ANN, again=True), replace(ANN, key="k")])
@pytest.mark.parametrize("earlier", [False, True])
async def test_what_is_sent_again_is_said_once(talk: Talk, attempt: Attempt, earlier: bool) -> None:
    said = ["One", "First"]
    if earlier:
        await talk.say("Two")
        said += ["Two", "Second"]
    await talk.say("Again", replace(attempt, again=False))
    await talk.say("Again", attempt)
    assert talk.seen[-1] == ("user", "Again")
    assert [text for _, text in talk.seen] == [*said, "Again"]
    assert await talk.texts() == [*said, "Again", "Fourth" if earlier else "Third"]


async def test_its_session_is_lost(house: House, talk: Talk) -> None:
    await talk.say("Two")
    await talk.add({"role": "user", "content": "Also"})
    house.dispatcher.lose(house.dispatcher.jobs[-1].session_id)
    await talk.say("Three")
    expected = [*SHOWN, ("user", "Two"), ("assistant", "Second"), ("user", "Also|Three")]
    assert (talk.seen, talk.reason) == (expected, "rebuilt")
    await talk.say("Four")
    assert talk.seen[4:] == [expected[4], ("assistant", "Third"), ("user", "Four")]
    texts = await talk.texts()
    assert texts == ["One", "First", "Two", "Second", "Also", "Three", "Third", "Four", "Fourth"]


async def test_the_database_is_lost(house: House, talk: Talk) -> None:
    await talk.say("Two")
    house.lose_database()
    await talk.say("Three")
    assert talk.seen == [*SHOWN, ("user", "Two"), ("assistant", "Second"), ("user", "Three")]
    assert await talk.texts() == ["One", "First", "Two", "Second", "Three", "Third"]


async def test_more_is_added_than_an_open_turn_waits_for(house: House, talk: Talk) -> None:
    answers: Iterator[str | Message] = iter([assistant("I look", use("a")), "Done"])
    house.dispatcher.answer = lambda _: next(answers)
    await talk.say("Look")
    result = {"type": "function_call_output", "call_id": "a", "output": "found"}
    await talk.add(result, {"role": "assistant", "content": "I see."})
    assert (await talk.say("And?")).status == 200
    job = house.dispatcher.jobs[-1]
    assert (job.plan.base, job.plan.reason) == (None, "rebuilt")
    roles = [message.role for message in house.dispatcher.seen[-1]]
    assert roles == ["user", "assistant", "user", "assistant", "user", "assistant", "user"]


async def test_a_branch_by_a_response_is_none_of_it(talk: Talk) -> None:
    first = (await talk.say("Two")).json["id"]
    branch = {"conversation": None, "previous_response_id": first}
    assert (await talk.say("Aside", **branch)).status == 200
    assert await talk.texts() == ["One", "First", "Two", "Second"]
    await talk.say("Three")
    assert talk.seen == [*SHOWN, ("user", "Two"), ("assistant", "Second"), ("user", "Three")]


async def test_it_is_started_over_from_what_was_given_first(talk: Talk) -> None:
    await talk.say("Two")
    await talk.say("Three", replace(ANN, anew=True))
    assert (talk.seen, talk.reason) == ([*SHOWN, ("user", "Three")], "started_over")
    assert await talk.texts() == ["One", "First", "Three", "Third"]


async def test_an_item_is_deleted_and_its_session_too(house: House, talk: Talk) -> None:
    await talk.say("Two", store=False)
    first, second, *_ = await talk.items()
    await talk.kept.delete_item(talk.id, "ann", first["id"])
    assert house.dispatcher.sessions == {}
    await talk.say("Three")
    assert await talk.texts() == ["First", "Two", "Second", "Three", "Third"]
    kept = house.dispatcher.jobs[-1].session_id
    await talk.kept.delete_item(talk.id, "ann", second["id"])
    assert kept in house.dispatcher.sessions  # its response may be asked for


async def test_an_item_that_is_only_named_is_kept_itself(talk: Talk) -> None:
    (said,) = (await talk.say("Two")).json["output"]
    named = {"type": "item_reference", "id": said["id"]}
    asked = [{"role": "user", "content": "Q"}, named, {"role": "user", "content": "And?"}]
    assert (await talk.say(asked)).status == 200
    assert await talk.texts() == ["One", "First", "Two", "Second", "Q", "Second", "And?", "Third"]
    assert len({item["id"] for item in await talk.items()}) == 8
    assert (await talk.say([*asked[:1], {**named, "id": "msg_x_0"}, asked[-1]])).status == 404


async def test_a_branch_waits_for_a_turn_in_the_same_session(house: House, talk: Talk) -> None:
    first = (await talk.say("Two")).json["id"]
    branch = {"conversation": None, "previous_response_id": first}
    answers = await asyncio.gather(talk.say("Three"), talk.say("Aside", **branch))
    assert [answer.status for answer in answers] == [200, 200]
    assert (await talk.texts())[:-1] == ["One", "First", "Two", "Second", "Three"]
    last = [words(seen)[-1] for seen in house.dispatcher.seen[-2:]]
    assert sorted(last) == [("user", "Aside"), ("user", "Three")]
    assert {len(seen) for seen in house.dispatcher.seen[-2:]} == {5}


async def test_it_is_not_deleted_under_a_branch(house: House, talk: Talk) -> None:
    first = (await talk.say("Two")).json["id"]
    await talk.say("Three")
    branch = {"conversation": None, "previous_response_id": first}
    house.dispatcher.gate = asyncio.Event()
    aside = asyncio.create_task(talk.say("Aside", **branch))
    await house.dispatcher.waiting.wait()
    deletion = asyncio.create_task(talk.kept.delete(talk.id, "ann"))
    other, _ = await house.conversations.create("ann", [], {})
    await talk.kept.delete(other, "ann")  # begun later, and waits for nobody
    assert not deletion.done()
    late = asyncio.create_task(talk.say("Late", **branch))
    house.dispatcher.gate.set()
    assert (await aside).status == 200
    await deletion
    assert (await late).status == 400
    assert house.dispatcher.sessions == {}
    key = house.conversations.key(talk.id, ANN.client)
    assert (await house.thread.holdings(key)).row is None


@pytest.mark.parametrize("named", [SERVER_HELD, LEARNT, None])
async def test_its_responses_are_for_who_has_it(
    house: House, talk: Talk, named: Origin | None
) -> None:
    """Some clients name a conversation of their own with every request."""
    first = (await talk.say("Two")).json["id"]
    asked = _json({"model": "claude-x", "input": "Aside", "previous_response_id": first})
    assert (await ask(house.bridge, asked, named, "responses", ANN)).status == 200
    assert talk.seen == [*SHOWN, ("user", "Two"), ("assistant", "Second"), ("user", "Aside")]
    responses = Responses(house.thread, lambda _: house.dispatcher, house.bridge._locks)
    assert (await responses.retrieve(first, named, "ann"))["id"] == first
    with pytest.raises(ItemNotFound):
        await responses.retrieve(first, named, "bob")
    assert (
        await ask(house.bridge, asked, named, "responses", replace(ANN, caller="bob"))
    ).status == 400


async def test_other_apis_cannot_go_on_with_it(house: House, talk: Talk) -> None:
    origin = Origin("openai", talk.id, "conversation", "server", by_caller=True)
    said = {"model": "x", "messages": [{"role": "user", "content": "Two"}]}
    answer = await ask(house.bridge, _json(said), origin, "chat", ANN)
    assert (answer.status, answer.json["error"]["param"]) == (400, "conversation")
    assert house.dispatcher.jobs == []


async def test_it_comes_before_what_else_a_request_names(house: House, talk: Talk) -> None:
    said = _json({"model": "x", "input": "Two", "conversation": {"id": talk.id}})
    for origin in (SERVER_HELD, None):
        answer = await ask(house.bridge, said, origin, "responses", ANN)
        assert answer.status == 200
    assert await talk.texts() == ["One", "First", "Two", "Second", "Two", "Third"]
    assert (await ask(house.bridge, said, SERVER_HELD, "responses", Attempt())).status == 404


async def test_two_turns_at_once_follow_each_other(talk: Talk) -> None:
    await asyncio.gather(talk.say("Two"), talk.say("Three"))
    assert len(talk.seen) == 5
    texts = await talk.texts()
    assert sorted(texts[2::2]) == ["Three", "Two"]
