"""Turns that failed or were left once the model had begun: what they used is in the ledger, and
nothing else of them is anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sessionbridge.apis.anthropic_messages.answer import StreamEncoder
from sessionbridge.claude.job import Meter
from sessionbridge.cli.demo.scripted_api import Failure, Reply
from sessionbridge.cli.main import cli
from sessionbridge.errors import ApiFailed, BridgeError, ClaudeFailed, StoreUnavailable
from sessionbridge.model import Attempt, Block, Message, Plan, SessionKey, Spent, Usage
from sessionbridge.sessions.planning.manner import Manner
from sessionbridge.sessions.store.ledger import UnkeptTurn
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import LedgerTurn, SessionStore
from sessionbridge.turns.exchange import Exchange
from tests.support.bridge_fixtures import CLIENT_HELD, LEARNT, SERVER_HELD, House, body, house
from tests.support.claude_cli import USAGE, Stage, job
from tests.support.dashboard_fixtures import Looking
from tests.support.live_processes import price, stage
from tests.support.scripted_dispatcher import numbered, words
from tests.support.stores import ENGINES, opened_store
from tests.support.turn_records import KEY, turn

__all__ = ["house", "stage"]

SPENT = Spent("claude-sonnet-5", Usage(10, 3, 30, 40, 20), 0.125, None)
UNKEPT = UnkeptTurn(
    plan="resume",
    reason="started_over",
    process="live",
    status="left",
    api="messages",
    model="claude-sonnet-5",
    usage=SPENT.usage,
    cost_usd=0.125,
    started_at=2_000_000.0,
    ttft_ms=None,
    duration_ms=700,
)
MANNER = Manner("settings", "model")


# -- the store: nothing that is looked up takes it for a turn to go on from ------------------------


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with opened_store(request, tmp_path, lambda: 3_000_000.0) as opened:
        yield opened


def known(store: SessionStore, first: int, last: int) -> dict[str, Any]:
    """All that the planner and the upkeep can learn of the key, and what people are told of it but
    for its sums."""
    hashes = ["ask", "history", "ask-2", "history-2"]
    return {
        "row": store.lineage(KEY, hashes).row,
        "lineage": [store.lineage(KEY, hashes[:n]) for n in range(5)],
        "waiting": [store.lineage(KEY, hashes[:n], waits=True) for n in range(5)],
        "in its manner": store.lineage(KEY, ["x"], asked_so=MANNER),
        "waiting in its manner": store.lineage(KEY, ["x"], asked_so=MANNER, waits=True),
        "in another": store.lineage(KEY, ["x"], asked_so=Manner("other", "model")),
        "ended": [store.last_ended(number) for number in (first, last)],
        "response": [store.response(name) for name in ("msg_1", "msg_2", "")],
        "holdings": store.holdings(KEY),
        "places": store.places(KEY),
        "stale": store.stale(0),
        "found": [store.find(name) for name in ("session-1", KEY.external_id, "", "left")],
        "summary": [
            replace(row, turns=0, usage=Usage(), cost_usd=None, unpriced=0)
            for row in store.sessions()
        ],
        "kept": [one for one in store.turns(KEY) if one.kept],
    }


@pytest.mark.parametrize("status", ["end_turn", "tool_use"])
@pytest.mark.parametrize("reason", ["started_over", "memory_lost", "tool_results", "imported"])
@pytest.mark.parametrize("plan", ["fresh", "resume", "import"])
def test_no_look_up_sees_it(store: SessionStore, status: str, reason: str, plan: str) -> None:
    asked = {"settings_hash": MANNER.settings, "model_asked": MANNER.model}
    first = store.commit(turn(**asked))
    later: dict[str, Any] = {"ask_hash": "ask-2", "history_hash": "history-2", "tip_uuid": "tip-2"}
    points = (("ask-2", "entry-2"), ("history-2", "tip-2"))
    last = store.commit(
        turn(**asked, **later, parent_id=first, response_id="msg_2", status=status, points=points)
    )
    before = known(store, first, last)
    number = store.count_unkept(KEY, replace(UNKEPT, reason=reason, plan=plan))
    assert number == last + 1
    assert known(store, first, last) == before


def test_its_key_is_not_mapped(store: SessionStore) -> None:
    store.count_unkept(KEY, UNKEPT)
    assert (store.count(), store.get(KEY), store.sessions()) == (0, None, [])
    assert store.lineage(KEY, ["ask"]).points == ()
    assert store.holdings(KEY).sessions == ()
    assert store.find("") == []
    assert store.delete(KEY) is None


def test_an_import_is_replaced_across_it(store: SessionStore) -> None:
    brought_in = {"plan": "import", "reason": "imported"}
    store.commit(turn(internal_id="old", **brought_in))
    store.count_unkept(KEY, UNKEPT)
    new = store.commit(turn(internal_id="new", **brought_in))
    assert store.replaced_import(KEY, new) == "old"


def test_a_turn_after_it_goes_on_where_the_one_before_it_ended(store: SessionStore) -> None:
    first = store.commit(turn())
    store.count_unkept(KEY, UNKEPT)
    second = store.commit(turn(parent_id=first, tip_uuid="tip-2", history_hash="history-2"))
    tip = store.lineage(KEY, []).tip
    assert tip is not None and (tip.turn_id, tip.is_tip) == (second, True)


def test_it_is_in_every_sum(store: SessionStore) -> None:
    store.commit(turn())
    store.count_unkept(KEY, UNKEPT)
    both = turn().usage + UNKEPT.usage
    (summary,) = store.sessions()
    assert (summary.turns, summary.usage, summary.cost_usd) == (2, both, 0.375)
    assert (summary.plan, summary.recent_turns) == ("fresh", 1)
    (row,) = store.costs("platform")
    assert (row.turns, row.usage, row.cost_usd) == (2, both, 0.375)
    assert [row.group["session"] for row in store.costs("session")] == ["session-1", ""]
    figures = store.figures()
    assert sum(row.turns for row in figures.turns) == 2
    assert (figures.duration.count, figures.first_token.count) == (1, 1)


def test_the_ledger_reads_it_back(store: SessionStore) -> None:
    store.count_unkept(KEY, UNKEPT)
    (read,) = store.turns(KEY)
    assert (read.kept, read.status, read.usage) == (False, "left", UNKEPT.usage)
    assert (read.parent_id, read.settings_hash, read.response_id) == (None, None, None)


# -- the walk --------------------------------------------------------------------------------------


def rows(house: House, key: SessionKey | None = None) -> list[LedgerTurn]:
    client = SessionKey(CLIENT_HELD.platform, CLIENT_HELD.external_id, "claude")
    with closing(house.ledger()) as ledger:
        return ledger.turns(key or client)


SERVERS = SessionKey(SERVER_HELD.platform, SERVER_HELD.external_id, "claude")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "stop_reason", "status"),
    [
        (ApiFailed(529, "overloaded"), None, "failed"),
        (ApiFailed(400, "declined"), "refusal", "refusal"),
        (ClaudeFailed("crashed"), "tool_use", "failed"),
        (RuntimeError("a fault"), None, "failed"),
    ],
)
async def test_one_that_failed_is_counted(
    house: House, stream: bool, error: Exception, stop_reason: str | None, status: str
) -> None:
    house.dispatcher.spends = replace(SPENT, stop_reason=stop_reason)
    house.dispatcher.breaks = error
    answer = await house.ask("hi", stream=stream)
    (row,) = rows(house)
    assert (row.status, row.usage, row.cost_usd, row.kept) == (status, SPENT.usage, 0.125, False)
    assert (row.plan, row.reason, row.process) == ("fresh", "first_turn", "new")
    assert (row.api, row.model) == ("messages", "claude-sonnet-5")
    outcome = answer.exchange.outcome
    assert (outcome.turn, outcome.usage, outcome.cost_usd) == (row.id, SPENT.usage, 0.125)
    if not stream:
        assert answer.headers["x-sessionbridge-turn"] == str(row.id)
        assert "cache_creation_1h_input_tokens=20" in answer.headers["x-sessionbridge-usage"]
    house.dispatcher.breaks = None
    again = await house.ask("hi")
    assert again.headers["x-sessionbridge-reason"] == "first_turn"
    assert [one.kept for one in rows(house)] == [False, True]


async def test_one_of_which_the_model_told_nothing_is_not(house: House) -> None:
    house.dispatcher.breaks = ApiFailed(529, "overloaded")
    await house.ask("hi")
    house.dispatcher.spends, house.dispatcher.fails = SPENT, ApiFailed(401, "log in")
    await house.ask("hi")
    await house.ask("")
    assert house.turns() == 0


async def test_one_that_took_too_long(house: House) -> None:
    house.dispatcher.spends = SPENT
    house.dispatcher.gate = asyncio.Event()
    house.change(timeout=0.2)  # this one does not count the time until it has its place
    assert (await house.ask("hi")).status == 504
    assert [row.status for row in rows(house)] == ["timed_out"]


async def test_a_fault_of_ours_in_telling_it_is_no_client_that_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise ValueError

    monkeypatch.setattr(StreamEncoder, "delta", broken)
    house.dispatcher.spends = SPENT
    await house.ask("hi", stream=True)
    assert [row.status for row in rows(house)] == ["failed"]


@pytest.mark.parametrize("number", range(1, 6))
async def test_one_whose_client_stops_reading(house: House, number: int) -> None:
    house.dispatcher.spends = SPENT
    exchange = Exchange("messages", SERVER_HELD)
    async with aclosing(house.bridge.handle(exchange, body("hi", stream=True))) as parts:
        for _ in range(number):
            await anext(parts)
    (row,) = rows(house, SERVERS)
    assert row.kept is (row.status == "end_turn")
    assert row.status in ("left", "end_turn")
    answer = await house.ask("next", origin=SERVER_HELD)
    assert answer.headers["x-sessionbridge-reason"] == ("appended" if row.kept else "first_turn")


@pytest.mark.parametrize("steps", range(0, 60, 2))
async def test_one_whose_client_leaves_at_any_await(house: House, steps: int) -> None:
    """Once the model has begun there is one row for it, whether it is kept or not."""
    house.dispatcher.spends = SPENT
    exchange = Exchange("messages", SERVER_HELD)

    async def asked() -> None:
        async with aclosing(house.bridge.handle(exchange, body("hi", stream=True))) as parts:
            async for _ in parts:
                pass

    task = asyncio.create_task(asked())
    for _ in range(steps):
        await asyncio.sleep(0)
    begun = bool(house.dispatcher.seen)
    task.cancel()
    await asyncio.wait([task])
    await house.ask("next", origin=SERVER_HELD)  # the store takes one thing after the other
    *left, _ = rows(house, SERVERS)
    assert len(left) <= 1
    if begun and not left:
        assert exchange.outcome.model is None
    assert len(house.dispatcher.seen[-1]) == (3 if left and left[0].kept else 1)


async def test_one_whose_client_leaves_twice(house: House) -> None:
    """The second cancellation meets the count itself, which goes on in the store."""
    house.dispatcher.spends = SPENT
    house.dispatcher.gate = asyncio.Event()
    running = asyncio.create_task(house.ask("hi"))
    await house.dispatcher.waiting.wait()
    running.cancel()
    while not running.done():
        await asyncio.sleep(0)
        running.cancel()
    house.dispatcher.gate.set()
    await house.thread.writing.ask(lambda store: None)
    assert [row.status for row in rows(house)] == ["left"]


async def test_a_ledger_that_cannot_be_had_hides_no_error(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuses(*_: object) -> int:
        raise StoreUnavailable("No room.")

    monkeypatch.setattr(house.thread, "count_unkept", refuses)
    house.dispatcher.spends, house.dispatcher.breaks = SPENT, ApiFailed(529, "overloaded")
    answer = await house.ask("hi")
    assert (answer.status, answer.exchange.outcome.turn) == (529, None)
    assert "was not counted: StoreUnavailable" in caplog.text


async def test_a_commit_that_fails_is_not_counted_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(*_: object) -> int:
        raise StoreUnavailable("No room.")

    monkeypatch.setattr(house.thread, "commit", refuses)
    house.dispatcher.spends = SPENT
    assert (await house.ask("hi")).status == 503
    assert rows(house) == []


@pytest.mark.parametrize("origin", [CLIENT_HELD, SERVER_HELD, LEARNT], ids=lambda o: o.history)
async def test_the_conversation_goes_on_as_if_it_had_never_been(house: House, origin: Any) -> None:
    """Also as a retry: the turn before it that sounds alike stays."""
    house.dispatcher.spends = SPENT
    asked = {"origin": origin}
    talk: list[tuple[str, str]] = []
    for text in ("one", "one", "two"):
        sent = [*talk, ("user", text)] if origin is CLIENT_HELD else text
        house.dispatcher.breaks = ClaudeFailed("crashed")
        assert (await house.ask(sent, **asked)).status == 502
        house.dispatcher.breaks = None
        answer = await house.ask(sent, **asked)
        talk += [("user", text), ("assistant", answer.text)]
        assert words(house.dispatcher.seen[-1]) == talk[:-1]
    key = SessionKey(origin.platform, origin.external_id, "claude")
    assert [row.kept for row in rows(house, key)] == [False, True] * 3


async def test_a_retry_of_one_that_failed_does_not_undo_the_turn_before_it(house: House) -> None:
    house.dispatcher.spends = SPENT
    attempts = [Attempt(key="k1"), Attempt(key="k2"), Attempt(again=True, key="k2")]
    for number, attempt in enumerate(attempts):
        house.dispatcher.breaks = ClaudeFailed("crashed") if number == 1 else None
        exchange = Exchange("messages", SERVER_HELD, attempt)
        async with aclosing(house.bridge.handle(exchange, body("again"))) as parts:
            async for _ in parts:
                pass
    assert [row.reason for row in rows(house, SERVERS) if row.kept] == ["first_turn", "appended"]
    assert len(house.dispatcher.seen[-1]) == 3


async def test_two_tabs_one_of_which_is_left(house: House) -> None:
    house.dispatcher.spends = SPENT
    first = await house.ask("one")
    talk = [("user", "one"), ("assistant", first.text)]
    house.dispatcher.gate = asyncio.Event()
    left = asyncio.create_task(house.ask([*talk, ("user", "left")]))
    await house.dispatcher.waiting.wait()
    stays = asyncio.create_task(house.ask([*talk, ("user", "right")]))
    await asyncio.sleep(0.05)
    left.cancel()
    await asyncio.wait([left])
    house.dispatcher.gate.set()
    answer = await stays
    assert words(house.dispatcher.seen[-1]) == [*talk, ("user", "right")]
    talk += [("user", "right"), ("assistant", answer.text), ("user", "on")]
    assert (await house.ask(talk)).headers["x-sessionbridge-reason"] == "continued"
    assert [row.status for row in rows(house)].count("left") == 1


async def test_results_that_were_cut_off_find_their_calls_again(house: House) -> None:
    """The process that waited is gone with the failed turn; the calls are still the open turn."""
    house.dispatcher.spends = SPENT
    use: Block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    house.dispatcher.answer = lambda seen: (
        Message("assistant", (use,)) if len(seen) == 1 else numbered(seen)
    )
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    ask = {"role": "user", "content": "look"}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}
    talk = [ask, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]

    async def sent(messages: list[Any]) -> Exchange:
        exchange = Exchange("messages", CLIENT_HELD)
        request = json.dumps(
            {"model": "claude-x", "max_tokens": 9, "tools": tools, "messages": messages}
        ).encode()
        async with aclosing(house.bridge.handle(exchange, request)) as parts:
            async for _ in parts:
                pass
        return exchange

    await sent(talk[:1])
    house.dispatcher.breaks = ClaudeFailed("crashed")
    await sent(talk)
    house.dispatcher.breaks = None
    exchange = await sent(talk)
    assert isinstance(exchange.outcome.plan, Plan)
    assert exchange.outcome.plan.reason == "tools_imported"
    assert [row.status for row in rows(house)] == ["tool_use", "failed", "end_turn"]


# -- what people see -------------------------------------------------------------------------------


async def test_the_page_has_its_facts_and_no_words(tmp_path: Path) -> None:
    with closing(Looking(tmp_path)) as looking:
        looking.dispatcher.spends = SPENT
        await looking.ask("Hello")
        looking.dispatcher.breaks = ClaudeFailed("crashed")
        await looking.ask([("user", "Hello"), ("assistant", "1: Hello"), ("user", "More")])
        first, failed = await looking.turns()
    assert (failed["status"], failed["session"], failed["parent"]) == ("failed", "", None)
    assert (failed["messages"], failed["input_tokens"]) == ([], 10)
    assert first["messages"]


def test_sessions_show_and_export_tell_of_it(tmp_path: Path) -> None:
    with closing(SessionStore.open(tmp_path / DATABASE_NAME)) as opened:
        opened.commit(turn())
        opened.count_unkept(KEY, UNKEPT)
    command = ["--home", str(tmp_path), "sessions"]
    shown = CliRunner().invoke(cli, [*command, "show", KEY.external_id], catch_exceptions=False)
    assert "nothing kept of them" in shown.stdout and "[left]" in shown.stdout
    ran = CliRunner().invoke(cli, [*command, "export", KEY.external_id], catch_exceptions=False)
    exported = json.loads(ran.stdout)
    assert [session["session"] for session in exported["sessions"]] == ["session-1"]
    assert [one["session"] for one in exported["turns"]] == ["session-1", None]


# -- the CLI's own turns ---------------------------------------------------------------------------


def test_a_meter_adds_up_what_each_process_has_used() -> None:
    meter = Meter()
    assert meter.read() is None
    for spent in (SPENT, None, replace(SPENT, cost_usd=None)):
        meter.connect(lambda spent=spent: spent)  # type: ignore[misc]
    assert meter.read() == replace(SPENT, usage=SPENT.usage + SPENT.usage)


async def breaking(*pieces: str) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
    raise ConnectionError


async def hanging(*pieces: str) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
    await asyncio.Event().wait()


async def test_a_stream_that_breaks_has_been_paid_for(stage: Stage) -> None:
    stage.replies = [Reply(breaking("Half an ", "ans"), USAGE)]
    asked = job("Hi")
    with pytest.raises(BridgeError):
        await stage.answer(asked)
    spent = asked.meter.read()
    assert spent is not None and spent.usage == Usage(3, 1, 7, 11)
    assert spent.cost_usd == pytest.approx(price(spent.usage))


async def test_one_that_is_left_has_used_what_was_told_at_its_beginning(stage: Stage) -> None:
    stage.replies = [Reply(hanging("Half"), USAGE)]
    asked = job("Hi")
    async with aclosing(stage.dispatcher().run(asked)) as deltas:
        async for delta in deltas:
            if "Half" in repr(delta):
                break
    spent = asked.meter.read()
    assert spent is not None and spent.usage == Usage(3, 1, 7, 11)


async def test_one_that_comes_to_its_end_has_used_what_it_says(stage: Stage) -> None:
    asked = job("Hi")
    assert asked.meter.read() is None
    told = await stage.answer(asked)
    spent = asked.meter.read()
    assert spent is not None
    assert (spent.usage, spent.cost_usd) == (told.finished.usage, told.finished.cost_usd)


async def test_an_api_that_answers_with_an_error_has_used_nothing(stage: Stage) -> None:
    stage.replies = [Failure(401, "authentication_error", "no")] * 9
    asked = job("Hi")
    with pytest.raises(BridgeError):
        await stage.answer(asked)
    assert asked.meter.read() is None
