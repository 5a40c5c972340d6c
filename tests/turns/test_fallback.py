"""Where a provider cannot answer, the next of its list takes the conversation up: the model there
sees all of it, and nobody who forbids that is answered by another."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from sessionbridge.allowances import ClientRules
from sessionbridge.errors import (
    ApiFailed,
    BadRequest,
    BridgeError,
    ClaudeFailed,
    NotLoggedIn,
    OverBudget,
    Overloaded,
    PlanShareReached,
)
from sessionbridge.model import Attempt, Origin, SessionKey
from sessionbridge.sessions.planning.memory import key_lock
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.stored.kept_conversations import is_of
from sessionbridge.turns.admission import Admission
from sessionbridge.turns.background import Background
from sessionbridge.turns.bridge import Bridge
from sessionbridge.turns.exchange import Chunk, Exchange, Head, Wanted
from sessionbridge.turns.passing_on import PassingOn
from sessionbridge.turns.providers import Providers
from sessionbridge.turns.worker import Worker
from tests.support.bridge_fixtures import CLIENT_HELD, LEARNT, SERVER_HELD, Answer, body
from tests.support.scripted_dispatcher import ScriptedDispatcher, words
from tests.support.spoken import assert_same, assistant, user
from tests.support.tool_rounds import found, use
from tests.test_providers import configured

CONFIG = """
[providers.claude]
fallback = ["key", "cloud"]
[providers.key]
[providers.cloud]
"""
LIMITED = ApiFailed(429, "The account has reached its limit.", retry_after=60)
AGAIN = Attempt(again=True)


class Place:
    """Providers with a dispatcher in memory each, in front of one database."""

    def __init__(
        self,
        home: Path,
        passing_on: PassingOn | None = None,
        config: str = CONFIG,
        queue: int = 9,
        before: Mapping[str, ScriptedDispatcher] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        self.settings = configured(home, config).model_copy(update=options)
        self.store = StoreThread(Home(home))
        self.locks, worker, background = Home(home).locks(), Worker(), Background()
        self.dispatchers = {
            name: before.get(name) or ScriptedDispatcher() for name in self.settings.providers
        }
        self.bridges = {
            name: Bridge(
                self.settings.of(name),
                *(self.store, dispatcher, self.locks, Admission(9, queue), worker, background),
                passing_on=passing_on,
                dispatchers=self.dispatchers.get,
            )
            for name, dispatcher in self.dispatchers.items()
        }
        self.asked: list[str] = []
        self.providers = Providers(self.settings, self._walk, self.store)

    def _walk(self, name: str) -> Bridge:
        self.asked.append(name)
        return self.bridges[name]

    def fail(self, *names: str, error: BridgeError = LIMITED) -> None:
        for name, dispatcher in self.dispatchers.items():
            dispatcher.fails = error if name in names else None

    async def ask(
        self,
        messages: Sequence[tuple[str, str]] | str,
        origin: Origin | None = SERVER_HELD,
        wanted: Wanted = Wanted(),  # noqa: B008
        rules: ClientRules = ClientRules(),  # noqa: B008
        api: str = "messages",
        sent: bytes | None = None,
        **more: Any,
    ) -> Answer:
        answer = Answer(Exchange(api, origin, wanted=wanted, rules=rules, **more))
        told = body(messages) if sent is None else sent
        async with aclosing(self.providers.handle(answer.exchange, told)) as parts:
            async for part in parts:
                match part:
                    case Head():
                        assert not answer.status, "a second head"
                        answer.status, answer.headers = part.status, dict(part.headers)
                    case Chunk():
                        answer.body += part.data
                        answer.whole = part.last
        return answer

    def seen(self, name: str) -> list[tuple[str, str]]:
        """The conversation that the model was shown there last."""
        return words(self.dispatchers[name].seen[-1])


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


def who(answer: Answer) -> tuple[str, str]:
    return answer.headers["x-sessionbridge-provider"], answer.headers["x-sessionbridge-reason"]


async def test_the_same_id_with_two_providers_is_two_conversations(place: Place) -> None:
    key = Wanted(provider="key")
    assert who(await place.ask("One")) == ("claude", "first_turn")
    assert who(await place.ask("Two", wanted=key)) == ("key", "first_turn")
    assert who(await place.ask("Three")) == ("claude", "appended")
    assert who(await place.ask("Four", wanted=key)) == ("key", "appended")
    assert place.seen("claude") == [("user", "One"), ("assistant", "1: One"), ("user", "Three")]
    assert place.seen("key") == [("user", "Two"), ("assistant", "1: Two"), ("user", "Four")]


@pytest.mark.parametrize("origin", [SERVER_HELD, LEARNT], ids=["server", "learnt"])
async def test_what_is_kept_here_moves_and_comes_back_whole(place: Place, origin: Origin) -> None:
    await place.ask("One", origin)
    place.fail("claude")
    assert who(await place.ask("Two", origin)) == ("key", "moved")
    whole = [("user", "One"), ("assistant", "1: One"), ("user", "Two")]
    assert place.seen("key") == whole
    place.fail()
    # It stays where it is as long as that answers.
    assert who(await place.ask("Three", origin)) == ("key", "appended")
    place.fail("key")
    assert who(await place.ask("Four", origin)) == ("claude", "moved")
    whole += [("assistant", "3: Two"), ("user", "Three"), ("assistant", "5: Three")]
    assert place.seen("claude") == [*whole, ("user", "Four")]


@pytest.mark.parametrize("origin", [SERVER_HELD, LEARNT], ids=["server", "learnt"])
async def test_what_has_moved_and_is_asked_once_more_moves_again(
    place: Place, origin: Origin
) -> None:
    await place.ask("One", origin)
    place.fail("claude")
    assert who(await place.ask("Two", origin)) == ("key", "moved")
    for _ in range(2):
        assert who(await place.ask("Two", origin, attempt=AGAIN)) == ("key", "moved")
        assert place.seen("key") == [("user", "One"), ("assistant", "1: One"), ("user", "Two")]
    assert who(await place.ask("Three", origin)) == ("key", "appended")
    assert place.seen("key")[:3] == [("user", "One"), ("assistant", "1: One"), ("user", "Two")]


async def test_results_of_tools_move_with_the_calls_once_more_too(place: Place) -> None:
    call, results = assistant("I look", use("toolu_1", at="it")), user(found("toolu_1", "one"))
    place.dispatchers["claude"].answer = lambda _: call
    tools = [{"name": "look", "input_schema": {"type": "object"}}]

    async def ask(content: object, **more: Any) -> Answer:
        said = [{"role": "user", "content": content}]
        request = {"model": "claude-x", "max_tokens": 9, "messages": said, "tools": tools}
        return await place.ask("", sent=json.dumps(request).encode(), **more)

    await ask("Look")
    place.fail("claude")
    for attempt in (Attempt(), AGAIN):
        answer = await ask([dict(block) for block in results.blocks], attempt=attempt)
        assert answer.status == 200 and who(answer) == ("key", "moved")
        assert_same(place.dispatchers["key"].seen[-1], (user("Look"), call, results))


async def test_a_first_turn_may_begin_with_another(place: Place) -> None:
    place.fail("claude", "key")
    assert who(await place.ask("One")) == ("cloud", "first_turn")
    place.fail()
    assert who(await place.ask("Two")) == ("cloud", "appended")
    place.fail("cloud")
    assert who(await place.ask("Three")) == ("claude", "moved")
    first = [("user", "One"), ("assistant", "1: One"), ("user", "Two"), ("assistant", "3: Two")]
    assert place.seen("claude") == [*first, ("user", "Three")]


@pytest.mark.parametrize("origin", [CLIENT_HELD, LEARNT], ids=["client", "learnt"])
async def test_what_the_client_resends_is_asked_of_its_own_provider_first(
    place: Place, origin: Origin
) -> None:
    said = [("user", "One")]

    async def go_on(next_: str) -> tuple[str, str]:
        answer = await place.ask(said, origin)
        provider, why = who(answer)
        assert place.seen(provider) == said
        said.extend([("assistant", answer.text), ("user", next_)])
        return provider, why

    assert await go_on("Two") == ("claude", "first_turn")
    place.fail("claude")
    assert await go_on("Three") == ("key", "moved")
    assert await go_on("Four") == ("key", "continued")
    place.fail()
    assert await go_on("Five") == ("claude", "moved")
    assert await go_on("Six") == ("claude", "continued")


async def test_what_another_has_under_the_id_is_not_taken_up(place: Place) -> None:
    """The client named that provider itself: it has another conversation there."""
    await place.ask("Other", wanted=Wanted(provider="key"))
    await place.ask("One")
    place.fail("claude")
    assert who(await place.ask("Two")) == ("cloud", "moved")
    assert place.seen("cloud")[0] == ("user", "One")
    place.fail()
    assert who(await place.ask("More", wanted=Wanted(provider="key"))) == ("key", "appended")
    assert place.seen("key")[0] == ("user", "Other")


async def test_nor_is_what_was_begun_where_only_side_calls_were(place: Place) -> None:
    await place.ask("One", LEARNT)
    place.fail("claude")
    await place.ask("", LEARNT, sent=body("Title", system="Name this conversation."))
    place.fail()
    key = Wanted(provider="key")
    await place.ask("Other", LEARNT, key)
    place.fail("claude")
    assert who(await place.ask("Two", LEARNT)) == ("cloud", "moved")
    await place.ask("More", LEARNT, key)
    assert [text for _, text in place.seen("key")][::2] == ["Other", "More"]


async def test_a_side_call_elsewhere_does_not_take_the_conversation_with_it(place: Place) -> None:
    """In the manner of a task of its own, which is not part of what is kept."""
    await place.ask("One", LEARNT)
    place.fail("claude")
    title = body("Title", system="Name this conversation.")
    beside = await place.ask("", LEARNT, sent=title)
    assert beside.headers["x-sessionbridge-provider"] == "key"
    assert place.seen("key") == [("user", "Title")]
    assert who(await place.ask("Two", LEARNT)) == ("key", "moved")
    assert place.seen("key") == [("user", "One"), ("assistant", "1: One"), ("user", "Two")]
    assert who(await place.ask("Three", LEARNT)) == ("key", "appended")


async def test_nor_does_one_that_goes_back(place: Place) -> None:
    await place.ask("One", LEARNT)
    place.fail("claude")
    await place.ask("Two", LEARNT)
    place.fail("key")
    beside = await place.ask("", LEARNT, sent=body("Title", system="Name this conversation."))
    assert beside.headers["x-sessionbridge-provider"] == "claude"
    place.fail()
    assert who(await place.ask("Three", LEARNT)) == ("key", "appended")
    assert [text for _, text in place.seen("key")][::2] == ["One", "Two", "Three"]


async def test_what_follows_an_answer_moves_with_it(place: Place) -> None:
    async def follow(text: str, previous: str | None) -> Answer:
        asked = {"model": "gpt-5", "input": text, "instructions": "Be brief."}
        more = {"previous_response_id": previous} if previous else {}
        wanted = Wanted(follows=previous)
        sent = json.dumps(asked | more).encode()
        return await place.ask("", CLIENT_HELD, wanted, api="responses", sent=sent)

    one = await follow("One", None)
    place.fail("claude")
    two = await follow("Two", one.json["id"])
    assert who(two) == ("key", "moved")
    assert place.seen("key") == [("user", "One"), ("assistant", "1: One"), ("user", "Two")]
    place.fail()
    # Whatever else says who is to answer.
    assert who(await follow("Three", two.json["id"])) == ("key", "continued")
    assert who(await follow("Other", one.json["id"])) == ("claude", "continued")


async def test_the_instructions_go_with_it(place: Place) -> None:
    await place.ask("", sent=body("One", system="Speak Latin."))
    place.fail("claude")
    await place.ask("Two")
    assert place.dispatchers["key"].jobs[-1].system == "Speak Latin."


@pytest.mark.parametrize(
    "error",
    [
        LIMITED,
        ApiFailed(529, "Overloaded."),
        ApiFailed(500, "Broken."),
        ApiFailed(402, "Unpaid."),
        ClaudeFailed("Ended."),
        NotLoggedIn("Not logged in."),
        Overloaded("Busy."),
        PlanShareReached("Used.", of="provider", retry_after=60),
        OverBudget("Spent.", of="provider", retry_after=60),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.status}",
)
async def test_what_a_provider_cannot_do_another_may(place: Place, error: BridgeError) -> None:
    place.fail("claude", error=error)
    answer = await place.ask("One")
    assert answer.status == 200 and who(answer)[0] == "key"
    assert answer.exchange.outcome.failure is None


@pytest.mark.parametrize(
    "error",
    [
        ApiFailed(400, "Refused."),
        BadRequest("Wrong."),
        OverBudget("Spent.", of="client", retry_after=60),
    ],
)
async def test_what_is_wrong_with_a_request_is_so_everywhere(
    place: Place, error: BridgeError
) -> None:
    place.fail("claude", error=error)
    answer = await place.ask("One")
    assert answer.status == error.status
    assert answer.headers["x-sessionbridge-provider"] == "claude"
    assert not place.dispatchers["key"].jobs


@pytest.mark.parametrize(
    ("queue", "said"), [(9, "has waited 0.1 s"), (0, "sessionbridge_queue")], ids=["time", "room"]
)
async def test_nor_is_a_conversation_free_there_that_is_busy_here(
    tmp_path: Path, queue: int, said: str
) -> None:
    place = Place(tmp_path, queue=queue, first_token_timeout=0.1)
    key = SessionKey(SERVER_HELD.scope, SERVER_HELD.external_id, "claude")
    async with place.locks.hold(key_lock(key), lambda: None):
        answer = await place.ask("One")
    assert answer.status == 529 and said in answer.json["error"]["message"]
    assert place.asked == ["claude"]
    place.store.close()


async def test_nor_is_an_answer_asked_for_again_that_the_client_cannot_be_told(
    place: Place,
) -> None:
    """It may have been paid for, and is kept."""
    calls = assistant("I look", use("toolu_1", at="one"), use("toolu_2", at="two"))
    place.dispatchers["claude"].answer = lambda _: calls
    functions = [{"name": "look", "parameters": {"type": "object"}}]
    said = [{"role": "user", "content": "Look"}]
    sent = json.dumps({"model": "x", "messages": said, "functions": functions}).encode()
    answer = await place.ask("", api="chat", sent=sent)
    assert answer.status == 502 and "send the functions as tools" in answer.body.decode()
    assert not place.dispatchers["key"].jobs


@pytest.mark.parametrize(
    ("wanted", "rules"),
    [(Wanted(fallback=False), ClientRules()), (Wanted(), ClientRules(fallback=False))],
    ids=["request", "client"],
)
async def test_who_forbids_it_gets_the_error(
    place: Place, wanted: Wanted, rules: ClientRules
) -> None:
    place.fail("claude")
    answer = await place.ask("One", wanted=wanted, rules=rules)
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")
    assert not place.dispatchers["key"].jobs


async def test_where_none_can_the_error_is_the_first_one_s(place: Place) -> None:
    place.fail("claude", "key", "cloud")
    place.dispatchers["cloud"].fails = ClaudeFailed("Ended.")
    answer = await place.ask("One")
    assert (answer.status, answer.headers["retry-after"], answer.whole) == (429, "60", True)
    assert answer.headers["x-sessionbridge-provider"] == "claude"
    assert answer.exchange.outcome.error == "429 ApiFailed"


@pytest.mark.parametrize("error", [ApiFailed(404, "No such model."), BadRequest("Wrong.")])
async def test_so_it_is_where_another_takes_what_it_was_asked_for_a_mistake(
    place: Place, error: BridgeError
) -> None:
    place.fail("claude")
    place.dispatchers["key"].fails = error
    answer = await place.ask("One")
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")
    assert answer.headers["x-sessionbridge-provider"] == "claude"
    assert not place.dispatchers["cloud"].jobs


class OnAnotherNode(PassingOn):
    """A node where a process waits for what goes on, and may not be asked."""

    def __init__(self) -> None:
        pass

    async def answer(
        self, session: str, exchange: Exchange, body: bytes
    ) -> AsyncGenerator[Head | Chunk]:
        exchange.outcome.node = "http://other"
        exchange.outcome.error, exchange.outcome.is_unable = "429 PlanShareReached", True
        yield Head(429, [("x-sessionbridge-node", "http://other")])
        yield Chunk(b"{}", last=True)


async def test_what_another_node_s_provider_cannot_do_another_may_here(tmp_path: Path) -> None:
    place = Place(tmp_path, OnAnotherNode())
    await place.ask("One")
    answer = await place.ask("Two", path="/v1/messages")
    assert who(answer) == ("key", "moved") and answer.exchange.outcome.node is None
    assert place.seen("key") == [("user", "One"), ("assistant", "1: One"), ("user", "Two")]
    place.store.close()


async def test_one_whose_provider_leaves_the_config_as_it_comes_is_to_come_again(
    place: Place,
) -> None:
    place.providers = Providers(place.settings, lambda _: None, place.store)
    answer = await place.ask("One")
    assert (answer.status, answer.headers["retry-after"], answer.whole) == (503, "1", True)
    assert "provider claude was taken out" in answer.json["error"]["message"]


async def test_what_another_has_lost_is_told_until_it_is_begun_anew(tmp_path: Path) -> None:
    place = Place(tmp_path, memory_lost="error")
    await place.ask("One")
    place.fail("claude")
    await place.ask("Two")
    place.fail()
    place.dispatchers["key"].sessions.clear()
    alone = Wanted(fallback=False)
    for _ in range(2):
        answer = await place.ask("Three", wanted=alone)
        assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
        assert "with X-SessionBridge-New: 1" in answer.json["error"]["message"]
    anew = await place.ask("Three", wanted=alone, attempt=Attempt(anew=True))
    assert who(anew) == ("claude", "started_over")
    assert who(await place.ask("Four")) == ("claude", "appended")
    place.store.close()


async def test_once_something_was_sent_the_error_is_sent_too(place: Place) -> None:
    place.dispatchers["claude"].breaks = LIMITED
    answer = await place.ask("", sent=body("One", stream=True))
    assert answer.status == 200 and answer.events[-1] == "error"
    assert not place.dispatchers["key"].jobs


async def test_an_id_that_is_not_theirs_is_no_way_to_a_provider(place: Place) -> None:
    """That of an answer, or one that is made up as if a conversation had been created there."""
    key, sent = Wanted(provider="key"), json.dumps({"model": "gpt-5", "input": "One"}).encode()
    one = await place.ask("", SERVER_HELD, key, api="responses", sent=sent)
    jobs = len(place.dispatchers["key"].jobs)
    made_up = f"conv_sb{'0' * 32}{sha256(b'key').hexdigest()[:8]}"
    assert is_of("key", made_up)
    named = Origin("openai", made_up, "conversation", "server", by_caller=True)
    for wanted in (Wanted(follows=one.json["id"]), Wanted(conversation=made_up)):
        answer = await place.ask("One", CLIENT_HELD, wanted)
        assert answer.headers["x-sessionbridge-provider"] == "claude"
    shortened = body("One", compaction={"type": "summarize"})
    answer = await place.ask("", named, Wanted(conversation=made_up), sent=shortened)
    assert answer.status == 400 and "send this to /v1/responses" in answer.body.decode()
    assert len(place.dispatchers["key"].jobs) == jobs


async def test_a_node_that_knows_no_such_provider_says_so(place: Place) -> None:
    answer = await place.ask("One", wanted=Wanted(provider="gone"), node="http://other")
    assert answer.status == 400 and "no provider 'gone'" in answer.json["error"]["message"]


async def test_a_name_that_is_none_is_an_error_and_nothing_is_kept(place: Place) -> None:
    answer = await place.ask("One", wanted=Wanted(provider="nobody"))
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("X-SessionBridge-Provider: there is no")
    key = SessionKey(SERVER_HELD.scope, SERVER_HELD.external_id, "claude")
    assert not await place.store.whereabouts(key)
    assert not any(dispatcher.jobs for dispatcher in place.dispatchers.values())
