"""What the walk does with budgets and rates: the bridge with a real store and a scripted model."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import aclosing
from typing import Any

import pytest

from sessionbridge.allowances import Allowance, Budget, ClientRules
from sessionbridge.claude.prices import list_price, price_at_most
from sessionbridge.errors import ApiFailed, ClaudeFailed
from sessionbridge.model import Attempt, Message, Parameters, Plan, Spent, Tool, TurnRequest, Usage
from sessionbridge.sessions.store.places import Home, Place
from sessionbridge.sessions.store.spending import Limited, Reserved, Use, Used
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.budgets import estimated
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from tests.support.bridge_fixtures import CLIENT_HELD, Answer, House, ask, body, bridge, house
from tests.support.scripted_dispatcher import COST, USAGE

__all__ = ["house"]

ANN = Attempt(client="ann", caller="ann")
A_DAY = ClientRules(budgets=(Budget(per="day", usd=1.0), Budget(per="day", tokens=1000)))
TOKENS = USAGE.prompt_tokens + USAGE.output_tokens


async def asked(
    house: House, rules: ClientRules = A_DAY, api: str = "messages", **fields: Any
) -> Answer:
    origin = fields.pop("origin", CLIENT_HELD)
    return await ask(house.bridge, body("hello", **fields), origin, api, ANN, rules)


async def use(house: House, rules: ClientRules = A_DAY) -> Use:
    return await house.thread.use(Limited("client", "ann", rules))


async def used(house: House) -> list[float]:
    return [budget.used for budget in (await use(house)).budgets]


@pytest.mark.parametrize("origin", [CLIENT_HELD, None], ids=["kept", "stateless"])
async def test_a_turn_counts_for_what_it_has_used(house: House, origin: Any) -> None:
    assert (await asked(house, origin=origin)).status == 200
    assert await used(house) == [COST, TOKENS]


@pytest.mark.parametrize("origin", [CLIENT_HELD, None], ids=["kept", "stateless"])
async def test_what_a_kept_turn_has_used_is_settled_in_one_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch, origin: Any
) -> None:
    """A process that is killed after it leaves no estimate, and the answer waits once less."""
    settled = list[Used | None]()

    async def settle(reserved: Reserved, used: Used | None) -> None:
        settled.append(used)

    monkeypatch.setattr(house.thread, "settle", settle)
    assert (await asked(house, origin=origin)).status == 200
    if origin is None:
        assert settled == [Used(COST, TOKENS)]
    else:
        assert settled == []
        assert await used(house) == [COST, TOKENS]
        assert (await use(house)).at_once == 0


async def test_over_it_nothing_is_asked_of_the_model(house: House) -> None:
    answer = await asked(house, max_tokens=1001)
    assert (answer.status, answer.json["error"]["type"]) == (429, "rate_limit_error")
    assert "client ann" in answer.json["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers  # it is never going to fit
    assert not house.dispatcher.jobs
    assert await used(house) == [0, 0]
    assert house.turns() == 0


async def test_what_would_fit_later_is_told_when(house: House) -> None:
    await asked(house)
    answer = await asked(house, max_tokens=990, origin=None)
    assert answer.status == 429
    assert 0 < int(answer.headers["retry-after"]) <= 86400
    assert len(house.dispatcher.jobs) == 1


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        (ClientRules(budgets=(Budget(per="day", usd=0),)), "insufficient_quota"),
        (ClientRules(turns_a_minute=1), "rate_limit_exceeded"),
    ],
    ids=["budget", "rate"],
)
async def test_openais_apis_have_codes_of_their_own(
    house: House, rules: ClientRules, kind: str
) -> None:
    answers = [await asked(house, rules, "chat") for _ in range(2)]
    assert answers[-1].status == 429
    assert answers[-1].json["error"]["code"] == kind


async def test_without_limits_nothing_is_counted(house: House) -> None:
    await asked(house, ClientRules())
    assert await used(house) == [0, 0]


ASKED = {"model": "claude-x", "max_output_tokens": 9, "input": "hello"}
SAID = [("user", "hello"), ("assistant", "1: hello"), ("user", "again")]
ITEMS = [{"role": role, "content": text} for role, text in SAID]
KINDS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "responses": (json.dumps(ASKED).encode(), {"api": "responses"}),
    "background": (json.dumps(ASKED | {"background": True}).encode(), {"api": "responses"}),
    "frame": (json.dumps(ASKED | {"type": "response.create"}).encode(), {"framed": True}),
    "thread": (body("hello", thread={"type": "create"}), {"api": "messages"}),
    "summary": (body(SAID, compaction={"type": "summarize"}), {"api": "messages"}),
    "compact": (json.dumps(ASKED | {"input": ITEMS}).encode(), {"summary": True}),
}


async def told(house: House, kind: str, rules: ClientRules) -> tuple[int, Any]:
    """Status and document; a response in the background tells of its error once it has ended."""
    sent, more = KINDS[kind]
    asked = {"api": "responses", **more}
    answer = Answer(Exchange(origin=CLIENT_HELD, attempt=ANN, rules=rules, **asked))
    async with aclosing(house.bridge.handle(answer.exchange, sent)) as parts:
        async for part in parts:
            match part:
                case Head():
                    answer.status = part.status
                case Chunk():
                    answer.body += part.data
    if kind == "background":
        (running,) = house.bridge._background._known.values()
        assert running.task is not None
        await running.task
        return answer.status, running.log.document
    return answer.status, json.loads(answer.body.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_kind_of_turn_it_is_counts_once(house: House, kind: str) -> None:
    status, document = await told(house, kind, A_DAY)
    assert status == 200 and not document.get("error")
    assert await used(house) == [COST, TOKENS]
    assert (await use(house)).at_once == 0 and len(house.dispatcher.jobs) == 1


@pytest.mark.parametrize(
    ("kind", "status", "told_as"),
    [
        ("responses", 429, {"code": "insufficient_quota"}),
        ("background", 200, {"code": "insufficient_quota"}),
        ("frame", 429, {"code": "insufficient_quota"}),
        ("thread", 429, {"type": "rate_limit_error"}),
        ("summary", 429, {"type": "rate_limit_error"}),
        ("compact", 429, {"code": "insufficient_quota"}),
    ],
)
async def test_whatever_kind_of_turn_it_is_none_begins_over_the_budget(
    house: House, kind: str, status: int, told_as: dict[str, str]
) -> None:
    nothing = ClientRules(budgets=(Budget(per="day", usd=0),))
    given, document = await told(house, kind, nothing)
    assert given == status and told_as.items() <= document["error"].items()
    assert "client ann" in document["error"]["message"]
    assert await used(house) == [0, 0] and not house.dispatcher.jobs and house.turns() == 0


async def test_a_providers_budget_is_everybodys(house: House) -> None:
    allowance = Allowance(budgets=(Budget(per="day", usd=0.3),))
    limited = bridge(house.settings, house.thread, house.dispatcher, allowance=allowance)
    assert (await ask(limited, body("hello"))).status == 200
    refused = await ask(limited, body("hello", max_tokens=9000), None)
    assert (refused.status, "provider claude" in refused.json["error"]["message"]) == (429, True)


async def test_of_twenty_at_once_one_begins_that_there_is_room_for(house: House) -> None:
    house.dispatcher.gate = asyncio.Event()
    rules = ClientRules(budgets=(Budget(per="day", tokens=TOKENS),))
    asking = [asyncio.create_task(asked(house, rules, max_tokens=90)) for _ in range(20)]
    await house.dispatcher.waiting.wait()
    refused = asyncio.as_completed(asking)
    for _ in range(19):
        await next(refused)
    house.dispatcher.gate.set()
    statuses = sorted([(await task).status for task in asking])
    assert statuses == [200, *[429] * 19]


async def test_a_turn_that_fails_before_the_model_is_asked_costs_nothing(house: House) -> None:
    house.dispatcher.fails = ApiFailed(400, "no")
    assert (await asked(house)).status == 400
    assert await used(house) == [0, 0]
    assert (await use(house)).at_once == 0


@pytest.mark.parametrize("cost", [0.125, None])
async def test_a_turn_that_fails_counts_for_what_it_has_used(
    house: House, cost: float | None
) -> None:
    house.dispatcher.spends = Spent("claude-opus-4-5", USAGE, cost)
    house.dispatcher.breaks = ClaudeFailed("crashed")
    await asked(house)
    priced = list_price("claude-opus-4-5", USAGE) if cost is None else cost
    assert await used(house) == [pytest.approx(priced), TOKENS]


async def test_who_leaves_before_anything_was_said_has_had_his_words_read(house: House) -> None:
    house.dispatcher.gate = asyncio.Event()
    asking = asyncio.create_task(asked(house, max_tokens=900))
    await house.dispatcher.waiting.wait()
    assert (await use(house)).at_once == 1
    asking.cancel()
    await asyncio.wait([asking])
    _, tokens = await used(house)
    assert 0 < tokens < 10
    assert (await use(house)).at_once == 0


class Watched(StoreThread):
    """Says when it is asked to reserve something."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.reserving = asyncio.Event()

    async def reserve(self, *asked: Any) -> Used:
        self.reserving.set()
        return await super().reserve(*asked)


async def test_who_leaves_while_the_database_is_locked_has_reserved_nothing(house: House) -> None:
    store = Watched(Home(house.settings.home))
    waiting = bridge(house.settings, store, house.dispatcher)
    await ask(waiting, body("hello"), CLIENT_HELD, "messages", ANN, A_DAY)
    other, locked, go_on = house.ledger(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(db: Any) -> None:
        loop.call_soon_threadsafe(locked.set)
        go_on.wait(20)

    holding = asyncio.create_task(asyncio.to_thread(other.engine.write, hold))
    await locked.wait()
    store.reserving.clear()
    request = ask(waiting, body("another"), CLIENT_HELD, "messages", ANN, A_DAY)
    asking = asyncio.create_task(request)
    await store.reserving.wait()
    asking.cancel()
    go_on.set()
    await asyncio.wait([asking, holding])
    for one in (other, store):
        one.close()
    assert asking.cancelled()
    assert await used(house) == [COST, TOKENS]


async def test_without_a_session_map_nothing_with_a_budget_begins(house: House) -> None:
    blind = bridge(house.settings, None, house.dispatcher)
    answer = await ask(blind, body("hello"), None, "messages", ANN, A_DAY)
    assert (answer.status, answer.json["error"]["type"]) == (503, "api_error")
    assert "SESSIONBRIDGE_MAPPER" in answer.json["error"]["message"]


async def test_the_next_turn_reads_the_one_before_from_the_cache(house: House) -> None:
    """So one that would not fit in full does."""
    await asked(house)
    said = [("user", "hello"), ("assistant", "1: hello"), ("user", "again")]
    request = json.dumps(
        {
            "model": "claude-opus-4-5",
            "max_tokens": 10,
            "system": "x" * 40_000,
            "messages": [{"role": role, "content": text} for role, text in said],
        }
    ).encode()
    rules = ClientRules(budgets=(Budget(per="day", tokens=2 * TOKENS + 20),))
    assert (await ask(house.bridge, request, CLIENT_HELD, "messages", ANN, rules)).status == 200


TEXT = Message("user", ({"type": "text", "text": "x" * 400},))
IMAGE = Message("user", ({"type": "image", "source": {"type": "base64", "data": "x" * 9000}},))


@pytest.mark.parametrize(
    ("feed", "ask", "before", "expected"),
    [
        ((), TEXT, None, Usage(0, 4096, 102, 0)),
        ((TEXT,), TEXT, None, Usage(0, 4096, 203, 0)),
        ((), IMAGE, None, Usage(0, 4096, 1602, 0)),
        ((), TEXT, Usage(1, 2, 3, 4), Usage(0, 4096, 102, 10)),
    ],
)
def test_the_estimate(
    feed: tuple[Message, ...], ask: Message, before: Usage | None, expected: Usage
) -> None:
    plan = Plan("fresh", "first_turn", None, feed, ask)
    turn = TurnRequest("sonnet", "", (*feed, ask), stream=False)
    usage = estimated(turn, plan, before)
    assert usage.output_tokens == expected.output_tokens
    assert usage.cache_read_input_tokens == expected.cache_read_input_tokens
    assert abs(usage.cache_creation_input_tokens - expected.cache_creation_input_tokens) <= 4
    assert usage.cache_creation_1h_input_tokens == usage.cache_creation_input_tokens


def test_the_estimate_has_what_the_model_is_told_and_may_write() -> None:
    tool = Tool("look", "d" * 400, {"description": "s" * 400})
    turn = TurnRequest(
        "sonnet", "y" * 400, (TEXT,), stream=False, parameters=Parameters((tool,), max_tokens=7)
    )
    plan = Plan("fresh", "first_turn", None, (), TEXT)
    assert estimated(turn, plan, None).output_tokens == 7
    assert 400 <= estimated(turn, plan, None).cache_creation_input_tokens < 410
    assert 100 <= estimated(turn, plan, USAGE).cache_creation_input_tokens < 110


@pytest.mark.parametrize("hour", [0, 500])
@pytest.mark.parametrize(
    ("model", "priced_as"),
    [
        ("claude-opus-4-5", "claude-opus-4-5"),
        ("sonnet", "claude-sonnet-4-5"),
        ("eu.anthropic.claude-haiku-9-v1:0", "claude-haiku-4-5"),
        ("default", "claude-opus-4-1"),
    ],
)
def test_no_model_is_free(model: str, priced_as: str, hour: int) -> None:
    used = Usage(1000, 2000, 3000, 4000, hour)
    assert price_at_most(model, used) == pytest.approx(list_price(priced_as, used))
