"""The walk with a real store: what is remembered, what is said about it, what leaves no trace."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from sessionbridge.errors import ClaudeFailed
from sessionbridge.model import Origin
from tests.support.bridge_fixtures import (
    CLIENT_HELD,
    LEARNT,
    SERVER_HELD,
    House,
    ask,
    body,
    bridge,
    house,
)
from tests.support.scripted_dispatcher import words

__all__ = ["house"]


@pytest.mark.acceptance(10, 11, 16, 17)
async def test_the_second_turn_resumes_what_the_first_stored(house: House) -> None:
    first = await house.ask("my name is Ann")
    second = await house.ask([("user", "my name is Ann"), ("assistant", first.text), ("user", "?")])
    assert second.headers["x-sessionbridge-session"] == first.headers["x-sessionbridge-session"]
    assert (first.headers["x-sessionbridge-plan"], second.headers["x-sessionbridge-plan"]) == (
        "fresh",
        "resume",
    )
    assert words(house.dispatcher.seen[1])[0] == ("user", "my name is Ann")
    with_id = house.dispatcher.jobs[1].command
    assert f"--resume {first.headers['x-sessionbridge-session']}" in with_id


@pytest.mark.acceptance(20)
async def test_the_first_turn_neither_resumes_nor_continues(house: House) -> None:
    answer = await house.ask("hi")
    command = house.dispatcher.jobs[0].command
    assert "--resume" not in command and "--continue" not in command
    assert f"--session-id {answer.headers['x-sessionbridge-session']}" in command


@pytest.mark.acceptance(14, 20)
async def test_what_a_json_answer_tells(house: House) -> None:
    answer = await house.ask("hi")
    assert answer.whole and answer.headers["content-type"] == "application/json"
    usage = {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_creation_input_tokens": 30,
        "cache_read_input_tokens": 40,
    }
    assert answer.json["usage"] == usage
    told = answer.headers["x-sessionbridge-usage"]
    assert dict(pair.split("=") for pair in told.split(", ")) == {
        name: str(count) for name, count in usage.items()
    }
    assert answer.headers["x-sessionbridge-cost-usd"] == "0.250000"
    assert answer.headers["x-sessionbridge-turn"] == "1"
    assert answer.headers["x-sessionbridge-reason"] == "first_turn"
    assert (answer.json["model"], answer.text) == ("claude-scripted-1", "1: hi")


@pytest.mark.acceptance(14, 15)
async def test_the_ledger_has_the_turn(house: House) -> None:
    await house.ask("hi")
    store = house.ledger()
    (row,) = store.costs("session")
    store.close()
    assert (row.turns, row.cost_usd, row.usage.cache_read_input_tokens) == (1, 0.25, 40)


async def test_a_stream_is_told_as_it_comes(house: House) -> None:
    answer = await house.ask("hi", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.events[0] == "message_start" and answer.events[-1] == "message_stop"
    assert "x-sessionbridge-usage" not in answer.headers
    assert answer.headers["x-sessionbridge-session"] in house.dispatcher.sessions


async def test_a_stream_and_a_document_say_the_same(house: House) -> None:
    chat = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}]}
    document = await ask(house.bridge, json.dumps(chat).encode(), api="chat")
    assert document.json["choices"][0]["message"]["content"] == "1: hi"
    stream = await ask(house.bridge, json.dumps(chat | {"stream": True}).encode(), api="chat")
    lines = [line[6:] for line in stream.body.decode().splitlines() if line.startswith("data: {")]
    deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines]
    assert "".join(deltas) == "1: hi" and stream.body.endswith(b"[DONE]\n\n")


async def test_what_had_no_effect_is_named(house: House) -> None:
    answer = await house.ask("hi", model="gpt-4o", temperature=0.5)
    assert answer.headers["x-sessionbridge-ignored"] == "model, temperature"
    assert answer.exchange.outcome.ignored == ("model", "temperature")


async def test_strict_refuses_it(house: House) -> None:
    house.change(strict=True)
    refused = await house.ask("hi", temperature=0.5)
    assert refused.status == 400
    assert refused.json["error"]["type"] == "invalid_request_error"
    assert "temperature" in refused.json["error"]["message"]
    assert house.dispatcher.jobs == []
    assert (await house.ask("hi")).status == 200  # max_tokens cannot be left out


async def test_a_large_body(house: House) -> None:
    assert (await house.ask("x" * 1_100_000)).text.endswith("x")


@pytest.mark.parametrize("count", [3, 5_000])
async def test_parameters_without_effect_fill_no_client_s_header(house: House, count: int) -> None:
    answer = await house.ask("hi", **{f"unknown{number}": 1 for number in range(count)})
    named = answer.headers["x-sessionbridge-ignored"]
    assert answer.status == 200 and "unknown0" in named and len(named) < 4000
    assert ("more)" in named) == (count > 3)


@pytest.mark.acceptance(24, 31)
async def test_stateless_keeps_nothing(house: House, tmp_path: Path) -> None:
    history = [("user", "a"), ("assistant", "b"), ("user", "c")]
    first = await house.ask(history, origin=None)
    second = await house.ask(history, origin=None)
    assert first.headers["x-sessionbridge-reason"] == "stateless"
    assert first.headers["x-sessionbridge-session"] != second.headers["x-sessionbridge-session"]
    assert "x-sessionbridge-turn" not in first.headers
    assert words(house.dispatcher.seen[1]) == history
    assert {job.memory for job in house.dispatcher.jobs} == {"none"}
    assert os.listdir(tmp_path) == []


@pytest.mark.acceptance(13, 21)
async def test_continue_only_when_opted_in(house: House, tmp_path: Path) -> None:
    house.change(unkeyed="continue")
    await house.ask([("user", "a"), ("assistant", "b"), ("user", "c")], origin=None)
    answer = await house.ask("d", origin=None)
    assert answer.headers["x-sessionbridge-reason"] == "continue"
    assert "--continue" in house.dispatcher.jobs[1].command
    assert [text for _, text in words(house.dispatcher.seen[1])] == ["c", "1: c", "d"]
    assert not {"session_map.db", "work"} & set(os.listdir(tmp_path))
    house.change(unkeyed="stateless")
    await house.ask("e", origin=None)
    assert "--continue" not in house.dispatcher.jobs[2].command


@pytest.mark.acceptance(6, 20)
async def test_mapper_off_resumes_nothing_and_makes_no_file(house: House, tmp_path: Path) -> None:
    for origin in (CLIENT_HELD, SERVER_HELD, LEARNT):
        mapless = bridge(house.settings, None, house.dispatcher)
        answer = await ask(mapless, body("hi"), origin)
        assert answer.headers["x-sessionbridge-reason"] == "mapper_off"
    assert {job.plan.base for job in house.dispatcher.jobs} == {None}
    assert os.listdir(tmp_path) == []


@pytest.mark.acceptance(12, 33)
async def test_two_first_turns_of_one_user_end_in_one_session(house: House) -> None:
    answers = await asyncio.gather(
        *(house.ask(text, origin=SERVER_HELD) for text in ("one", "two"))
    )
    assert len({answer.headers["x-sessionbridge-session"] for answer in answers}) == 1
    assert [text for _, text in words(house.dispatcher.seen[1])] == ["one", "1: one", "two"]
    reasons = [answer.headers["x-sessionbridge-reason"] for answer in answers]
    assert reasons == ["first_turn", "appended"]
    assert house.turns() == 2


@pytest.mark.acceptance(4, 27, 28, 32)
async def test_ids_and_platforms_never_meet(house: House) -> None:
    names = [("p", "a:b"), ("p:a", "b"), ("p", "a/b"), ("p/a", "b"), ("p", "b"), ("q", "b")]
    origins = [Origin(platform, id_, "user", "server") for platform, id_ in names]
    answers = [await house.ask("hi", origin=origin) for origin in origins]
    sessions = {answer.headers["x-sessionbridge-session"] for answer in answers}
    assert len(sessions) == len(names)
    assert {len(seen) for seen in house.dispatcher.seen} == {1}


@pytest.mark.acceptance(1, 22, 30)
async def test_a_history_kept_here_survives_a_restart(house: House) -> None:
    await house.ask("my name is Ann", origin=SERVER_HELD)
    house.restart()
    await house.ask("what is my name?", origin=SERVER_HELD)
    answer = await house.ask("sure?", origin=SERVER_HELD)
    assert answer.headers["x-sessionbridge-reason"] == "appended"
    assert words(house.dispatcher.seen[-1])[0] == ("user", "my name is Ann")
    assert len(house.dispatcher.seen[-1]) == 5


async def test_a_lost_history_is_named_and_begins_anew(house: House) -> None:
    first = await house.ask("one", origin=SERVER_HELD)
    house.dispatcher.lose(first.headers["x-sessionbridge-session"])
    second = await house.ask("two", origin=SERVER_HELD)
    assert second.headers["x-sessionbridge-reason"] == "memory_lost"
    third = await house.ask("three", origin=SERVER_HELD)
    assert third.headers["x-sessionbridge-reason"] == "appended"
    assert [text for _, text in words(house.dispatcher.seen[-1])] == ["two", "1: two", "three"]


async def test_a_lost_history_is_named_until_a_turn_takes_its_place(house: House) -> None:
    first = await house.ask("one", origin=SERVER_HELD)
    house.dispatcher.lose(first.headers["x-sessionbridge-session"])
    for _ in range(2):
        house.dispatcher.fails = ClaudeFailed("It did not start.")
        assert (await house.ask("two", origin=SERVER_HELD)).status == 502
    house.dispatcher.fails = None
    second = await house.ask("two", origin=SERVER_HELD)
    assert second.headers["x-sessionbridge-reason"] == "memory_lost"


async def test_a_learnt_history(house: House) -> None:
    lone = await house.ask("a", origin=LEARNT)
    appended = await house.ask("b", origin=LEARNT)
    resent = [("user", "a"), ("assistant", lone.text), ("user", "b"), ("assistant", appended.text)]
    continued = await house.ask([*resent, ("user", "c")], origin=LEARNT)
    cleared = await house.ask("d", origin=LEARNT)
    reasons = [a.headers["x-sessionbridge-reason"] for a in (lone, appended, continued, cleared)]
    assert reasons == ["first_turn", "appended", "continued", "first_turn"]
    assert words(house.dispatcher.seen[2]) == [*resent, ("user", "c")]
    assert len(house.dispatcher.seen[3]) == 1
    assert [job.compaction for job in house.dispatcher.jobs] == [False, True, False, False]
