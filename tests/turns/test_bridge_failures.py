"""Failures: a true status before the first byte, the API's own event after it, and nothing kept or
told of what was said."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing

import pytest

from sessionbridge.errors import (
    ApiFailed,
    BridgeError,
    ClaudeFailed,
    NotLoggedIn,
    PromptTooLong,
    SessionLost,
    StoreUnavailable,
)
from sessionbridge.sessions.store.ledger import TurnRecord
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.spending import Settlement
from sessionbridge.turns.exchange import Chunk, Exchange, Head
from tests.support.bridge_fixtures import CLIENT_HELD, SERVER_HELD, Answer, House, ask, body, house

__all__ = ["house"]

SECRET = "the-secret-of-the-prompt"

FAILURES = [
    (ApiFailed(429, "slow down", retry_after=7), 429, "rate_limit_error", "rate_limit_error"),
    (ApiFailed(529, "overloaded"), 529, "overloaded_error", "server_error"),
    (NotLoggedIn("log in"), 401, "authentication_error", "invalid_request_error"),
    (PromptTooLong("too long"), 400, "invalid_request_error", "invalid_request_error"),
    (ClaudeFailed("not found"), 502, "api_error", "server_error"),
    (StoreUnavailable("locked", retry_after=1), 503, "api_error", "server_error"),
]


@pytest.mark.acceptance(21)
@pytest.mark.parametrize(("error", "status", "messages", "chat"), FAILURES)
async def test_before_the_first_byte(
    house: House, error: BridgeError, status: int, messages: str, chat: str
) -> None:
    house.dispatcher.fails = error
    for stream in (False, True):
        answer = await house.ask("hi", stream=stream)
        assert (answer.status, answer.whole) == (status, True)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json["error"]["type"] == messages
        assert answer.json["error"]["message"] == error.message
        waits = None if error.retry_after is None else str(error.retry_after)
        assert answer.headers.get("retry-after") == waits
        assert answer.exchange.outcome.error == f"{status} {type(error).__name__}"
    request = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}]}
    answer = await ask(house.bridge, json.dumps(request).encode(), api="chat")
    assert (answer.status, answer.json["error"]["type"]) == (status, chat)
    assert house.turns() == 0


@pytest.mark.parametrize(("seconds", "again"), [(60, None), (61, "false")])
async def test_no_library_waits_for_what_takes_long(
    house: House, seconds: int, again: str | None
) -> None:
    house.dispatcher.fails = ApiFailed(429, "limit", retry_after=seconds)
    answer = await house.ask("hi")
    assert answer.headers["retry-after"] == str(seconds)
    assert answer.headers.get("x-should-retry") == again


async def test_in_the_middle_of_a_stream(house: House) -> None:
    house.dispatcher.breaks = ApiFailed(529, "overloaded")
    answer = await house.ask("hi", stream=True)
    assert (answer.status, answer.whole, answer.events[-1]) == (200, True, "error")
    assert "message_stop" not in answer.events
    request = {"model": "x", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    chat = await ask(house.bridge, json.dumps(request).encode(), api="chat")
    assert b'"error"' in chat.body and b"[DONE]" not in chat.body
    assert house.turns() == 0


async def test_in_the_middle_of_a_document(house: House) -> None:
    house.dispatcher.breaks = ApiFailed(529, "overloaded")
    assert (await house.ask("hi")).status == 529


@pytest.mark.parametrize("request_body", [b"", b"[]", b"\xff", b'{"model": "x"}', b"{" * 5000])
async def test_what_is_no_request(house: House, request_body: bytes) -> None:
    for api in ("messages", "chat"):
        answer = await ask(house.bridge, request_body, api=api)
        assert (answer.status, answer.whole) == (400, True)
        assert answer.json["error"]["type"] == "invalid_request_error"
    assert house.dispatcher.jobs == []


def break_commits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:

    async def commit(*turn: object) -> int:
        raise StoreUnavailable("No room for the session database; free some disk space.")

    monkeypatch.setattr(house.thread, "commit", commit)


async def test_no_closing_event_without_a_commit(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_commits(house, monkeypatch)
    stream = await house.ask("hi", stream=True)
    assert (stream.events[-1], stream.whole) == ("error", True)
    assert "message_delta" not in stream.events and "message_stop" not in stream.events
    document = await house.ask("hi")
    assert (document.status, "turn" in document.headers) == (503, False)
    assert house.dispatcher.ended == 2


async def test_a_commit_that_the_file_refuses(house: House) -> None:
    await house.ask("hi")
    with closing(sqlite3.connect(Home(house.settings.home).database)) as db:
        db.execute("ALTER TABLE turns RENAME TO elsewhere")
        db.commit()
    answer = await house.ask("again", stream=True)
    assert answer.whole and "message_stop" not in answer.events


async def test_the_turn_is_committed_before_the_last_event_is_told(house: House) -> None:
    exchange = Exchange("messages", CLIENT_HELD)
    async with aclosing(house.bridge.handle(exchange, body("hi", stream=True))) as parts:
        async for part in parts:
            if isinstance(part, Chunk) and b"message_stop" in part.data:
                assert part.last and exchange.outcome.turn == 1
                assert house.turns() == 1
            else:
                assert exchange.outcome.turn is None


@pytest.mark.parametrize("where", ["fails", "breaks"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_unexpected_tells_nothing_of_what_was_said(
    house: House, caplog: pytest.LogCaptureFixture, where: str, stream: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    setattr(house.dispatcher, where, RuntimeError(f"cannot handle {SECRET!r}"))
    answer = await house.ask(SECRET, stream=stream)
    if where == "fails" or not stream:
        assert answer.status == 500
        assert "RuntimeError" in answer.json["error"]["message"]
    else:
        assert answer.events[-1] == "error"
        # The answer's own beginning was told before; nothing of the exception is.
        assert b"cannot handle" not in answer.body
    assert SECRET.encode() not in answer.body.split(b"event: error")[-1]
    assert SECRET not in repr(answer.headers) + str(answer.exchange.outcome.error)
    assert SECRET not in caplog.text
    assert "RuntimeError, which is a fault of sessionbridge" in caplog.text


async def test_a_session_lost_for_ever_is_told_once(house: House) -> None:
    house.dispatcher.fails = SessionLost("gone")
    assert (await house.ask("hi")).status == 502
    assert len(house.dispatcher.jobs) == 1


async def test_too_late(house: House) -> None:
    await house.ask("hello")  # that the database is made counts too
    house.dispatcher.gate = asyncio.Event()
    house.change(first_token_timeout=0.5)
    answer = await house.ask("hi", stream=True)
    assert answer.status == 504
    house.dispatcher.gate = None
    house.change(first_token_timeout=60)
    assert (await house.ask("hi")).headers["x-sessionbridge-reason"] == "first_turn"


async def leave_after(parts: AsyncGenerator[Head | Chunk], number: int) -> int:
    seen = 0
    async with aclosing(parts) as opened:
        async for _ in opened:
            seen += 1
            if seen == number:
                break
    return seen


@pytest.mark.parametrize("number", range(1, 8))
async def test_a_client_that_leaves_at_any_part(house: House, number: int) -> None:
    exchange = Exchange("messages", SERVER_HELD)
    request = body("hi", stream=True)
    seen = await leave_after(house.bridge.handle(exchange, request), number)
    assert house.dispatcher.ended == 1
    assert house.turns() == (1 if exchange.outcome.turn else 0)
    answer = await house.ask("next", origin=SERVER_HELD)
    known = 1 if exchange.outcome.turn is None else 3
    assert (seen <= number, len(house.dispatcher.seen[-1])) == (True, known)
    assert answer.status == 200


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_a_client_that_leaves_at_any_await(house: House, steps: int) -> None:
    """Cancelled after any number of the loop's rounds: the lock is free, a process is no longer
    running, and the turn is kept whole or not at all."""
    task = asyncio.create_task(house.ask("hi", origin=SERVER_HELD))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert house.dispatcher.ended == len(house.dispatcher.jobs)
    answer = await house.ask("next", origin=SERVER_HELD)
    kept = house.turns() - 1
    assert len(house.dispatcher.seen[-1]) == (3 if kept else 1)
    assert answer.headers["x-sessionbridge-reason"] == ("appended" if kept else "first_turn")


async def test_a_client_that_leaves_during_the_commit_has_it_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, begun = house.thread.commit, asyncio.Event()

    async def slow(record: TurnRecord, under: str | None, settlement: Settlement | None) -> int:
        begun.set()
        return await commit(record, under, settlement)

    monkeypatch.setattr(house.thread, "commit", slow)
    task = asyncio.create_task(house.ask("hi", origin=SERVER_HELD))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer = await house.ask("next", origin=SERVER_HELD)
    assert answer.headers["x-sessionbridge-reason"] == "appended"


async def test_one_who_waits_for_the_lock_and_leaves_stops_nobody(house: House) -> None:
    house.dispatcher.gate = asyncio.Event()
    first = asyncio.create_task(house.ask("one", origin=SERVER_HELD))
    await house.dispatcher.waiting.wait()
    gone, patient = (
        asyncio.create_task(house.ask(text, origin=SERVER_HELD)) for text in ("two", "three")
    )
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    house.dispatcher.gate.set()
    assert (await first).status == 200
    assert (await patient).headers["x-sessionbridge-reason"] == "appended"
    assert len(house.dispatcher.jobs) == 2


async def held(house: House) -> asyncio.Task[Answer]:
    """A turn that runs until the gate is opened."""
    house.dispatcher.gate = asyncio.Event()
    running = asyncio.create_task(house.ask("first"))
    await house.dispatcher.waiting.wait()
    return running


async def test_more_turns_than_may_wait_are_refused(house: House) -> None:
    house.change(concurrency=1, queue=0)
    running = await held(house)
    for api, status in (("messages", 529), ("chat", 429)):
        refused = await ask(house.bridge, body("second"), CLIENT_HELD, api)
        assert (refused.status, refused.headers["retry-after"]) == (status, "5")
        assert "sessionbridge_queue" in refused.json["error"]["message"]
    assert house.dispatcher.gate is not None
    house.dispatcher.gate.set()
    assert (await running).status == 200
    assert (await house.ask("second")).status == 200


async def test_nobody_waits_for_ever(house: House) -> None:
    house.change(concurrency=1, first_token_timeout=0.1)
    with house.bridge._admission.turn() as place:
        async with place.slot():
            refused = await house.ask("second")
    assert refused.status == 529 and "has waited 0.1 s" in refused.json["error"]["message"]


async def test_one_that_leaves_the_queue_is_forgotten(house: House) -> None:
    house.change(concurrency=1, queue=1)
    running = await held(house)
    for _ in range(2):
        waits = asyncio.create_task(house.ask("second"))
        while not house.bridge._admission.waiting_now:  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait([waits])
    assert len(house.dispatcher.jobs) == 1
    assert house.dispatcher.gate is not None
    house.dispatcher.gate.set()
    assert (await running).status == 200
