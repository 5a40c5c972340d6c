"""Threads of the Messages API: who may go on with one, from where, and under what."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sessionbridge.apis.common.ids import is_made_here
from sessionbridge.model import Attempt, Block, Message, Origin
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.turns.naming import named_by
from tests.support.bridge_fixtures import (
    CLIENT_HELD,
    LEARNT,
    SERVER_HELD,
    Answer,
    House,
    ask,
    bridge,
    house,
)
from tests.support.scripted_dispatcher import numbered, words

__all__ = ["house"]

ANN, BOB = Attempt(caller="ann"), Attempt(caller="bob")
CREATE = {"type": "create"}
LOOK = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
ADD = {"name": "add", "description": "", "input_schema": {"type": "object", "properties": {}}}
USE: Block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}


def after(answer: Answer | str) -> dict[str, Any]:
    id_ = answer if isinstance(answer, str) else answer.json["id"]
    return {"type": "continue", "previous_message_id": id_}


async def send(
    house: House,
    thread: Any,
    *said: Any,
    origin: Origin | None = None,
    attempt: Attempt = ANN,
    **fields: Any,
) -> Answer:
    """What is said is the user's, or a message as it is."""
    messages = [{"role": "user", "content": one} if isinstance(one, str) else one for one in said]
    request = {"model": "claude-x", "max_tokens": 9, "messages": messages, "thread": thread}
    return await ask(house.bridge, json.dumps(request | fields).encode(), origin, attempt=attempt)


def error(answer: Answer) -> tuple[int, str, str]:
    told = answer.json["error"]
    return answer.status, told["type"], told["details"]["error_code"]


UNSUPPORTED = (400, "invalid_request_error", "thread_unsupported_request")
MISSING = (404, "not_found_error", "thread_not_found")


async def test_it_goes_on_from_each_answer_with_what_is_new(house: House) -> None:
    first = await send(house, CREATE, "one")
    second = await send(house, after(first), "two")
    house.restart()
    third = await send(house, after(second), "three")
    other = await send(house, after(first), "other")
    assert all(is_made_here(answer.json["id"]) for answer in (first, second, third, other))
    assert len({answer.json["id"] for answer in (first, second, third, other)}) == 4
    reasons = [a.headers["x-sessionbridge-reason"] for a in (first, second, third, other)]
    assert reasons == ["first_turn", "continued", "continued", "branched"]
    said = [
        [text for role, text in words(seen) if role == "user"] for seen in house.dispatcher.seen
    ]
    assert said == [["one"], ["one", "two"], ["one", "two", "three"], ["one", "other"]]


async def test_a_stream_has_the_same_id_as_a_document(house: House) -> None:
    answer = await send(house, CREATE, "one", stream=True)
    start = json.loads(answer.body.decode().split("data: ")[1].splitlines()[0])
    assert start["type"] == "message_start"
    assert (await send(house, after(start["message"]["id"]), "two")).status == 200


async def test_an_answer_outside_of_a_thread_keeps_the_id_of_the_model_s_api(house: House) -> None:
    answer = await house.ask("one")
    assert not is_made_here(answer.json["id"])
    for id_ in (answer.json["id"], f"msg_sb{answer.json['id'].removeprefix('msg_')}"):
        assert error(await send(house, after(id_), "two", origin=CLIENT_HELD)) == MISSING


@pytest.mark.parametrize(
    ("first", "then", "found"),
    [
        pytest.param((None, ANN), (None, ANN), True, id="the same credentials"),
        pytest.param((None, ANN), (None, BOB), False, id="other credentials"),
        pytest.param((None, ANN), (CLIENT_HELD, ANN), False, id="a conversation without it"),
        pytest.param((CLIENT_HELD, ANN), (CLIENT_HELD, ANN), True, id="the same conversation"),
        pytest.param((CLIENT_HELD, ANN), (None, BOB), False, id="no conversation, others' key"),
    ],
)
async def test_it_goes_on_for_who_began_it(
    house: House, first: tuple[Any, Attempt], then: tuple[Any, Attempt], found: bool
) -> None:
    begun = await send(house, CREATE, "one", origin=first[0], attempt=first[1])
    answer = await send(house, after(begun), "two", origin=then[0], attempt=then[1])
    assert answer.status == 200 if found else error(answer) == MISSING
    assert len(house.dispatcher.seen) == (2 if found else 1)


async def test_unknown_forgotten_and_others_answers_are_told_alike(house: House) -> None:
    begun = await send(house, CREATE, "one")
    told = [
        await send(house, after("msg_sb01unknown"), "two"),
        await send(house, after("msg_01ofTheApi"), "two"),
        await send(house, after("nothing of the kind"), "two"),
        await send(house, after(begun), "two", attempt=BOB),
    ]
    house.dispatcher.sessions.clear()
    told.append(await send(house, after(begun), "two"))
    told.append(await send(house, after(begun), "two"))
    assert {answer.body for answer in told} == {told[0].body}
    assert error(told[0]) == MISSING


@pytest.mark.parametrize("origin", [CLIENT_HELD, LEARNT, SERVER_HELD])
async def test_one_that_is_begun_under_a_session_has_all_of_it(house: House, origin: Any) -> None:
    """Whoever keeps the history otherwise."""
    await house.ask("before", origin=origin)
    first = await send(house, CREATE, "one", origin=origin)
    await send(house, after(first), "two", origin=origin)
    seen = [[text for _, text in words(seen)][0::2] for seen in house.dispatcher.seen]
    assert seen == [["before"], ["one"], ["one", "two"]]


async def test_system_and_tools_are_the_thread_s(house: House) -> None:
    rule = {"role": "system", "content": "Rule."}
    first = await send(house, CREATE, rule, "one", system="Be kind.", tools=[LOOK, ADD])
    second = await send(house, after(first), "two")
    house.restart()
    third = await send(house, after(second), {**rule, "content": "More."}, "three")
    await send(house, after(third), "four", tool_choice={"type": "none"})
    fifth = await send(house, after(third), "five", system="Be kind.", tools=[LOOK, ADD])
    assert fifth.status == 200, fifth.body
    jobs = house.dispatcher.jobs
    whole = "Be kind.\n\nRule."
    assert [job.system for job in jobs] == [whole, whole, *[f"{whole}\n\nMore."] * 3]
    offered = jobs[0].parameters.tools
    assert [tool.name for tool in offered] == ["look", "add"]
    assert [job.parameters.tools for job in jobs] == [offered, offered, offered, (), offered]
    database = b"".join(p.read_bytes() for p in house.settings.home.glob("session_map.db*"))
    assert b"Be kind." not in database and b"Looks." not in database


async def test_the_tools_of_a_turn_that_calls_none_are_kept(house: House) -> None:
    first = await send(house, CREATE, "one", tools=[LOOK], tool_choice={"type": "none"})
    await send(house, after(first), "two", tool_choice={"type": "tool", "name": "look"})
    assert [len(job.parameters.tools) for job in house.dispatcher.jobs] == [0, 1]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"system": "Be rude."}, "system: "),
        ({"system": ""}, "system: "),
        ({"tools": []}, "tools: "),
        ({"tools": [LOOK, ADD]}, "tools: "),
        ({"system": "Be rude.", "tools": [{**LOOK, "description": "x"}]}, "system and tools: "),
    ],
)
async def test_they_cannot_be_changed(house: House, fields: Any, names: str) -> None:
    first = await send(house, CREATE, "one", system="Be kind.", tools=[LOOK])
    answer = await send(house, after(first), "two", **fields)
    assert error(answer) == (400, "invalid_request_error", "thread_fingerprint_mismatch")
    assert answer.json["error"]["message"].startswith(names)
    assert len(house.dispatcher.seen) == 1


async def test_the_budget_of_thoughts_is_that_of_all_calls(house: House) -> None:
    """Where there are tools it may be larger than what one answer may have."""
    fields: Any = {"max_tokens": 1024, "thinking": {"type": "enabled", "budget_tokens": 2048}}
    first = await send(house, CREATE, "one", tools=[LOOK], **fields)
    assert (await send(house, after(first), "two", **fields)).status == 200


async def test_one_request_at_a_time_goes_on_from_an_answer(house: House) -> None:
    first = await send(house, CREATE, "one")
    house.dispatcher.gate = asyncio.Event()
    running = asyncio.create_task(send(house, after(first), "two"))
    await house.dispatcher.waiting.wait()
    refused = await send(house, after(first), "three")
    assert error(refused) == (400, "invalid_request_error", "thread_continue_in_flight")
    house.dispatcher.gate.set()
    second = await running
    for answer in (first, second):
        assert (await send(house, after(answer), "four")).status == 200


@pytest.mark.parametrize("lost", [False, True])
async def test_the_results_of_tools_are_all_that_is_sent(house: House, lost: bool) -> None:
    def answer(seen: Any) -> str | Message:
        return numbered(seen) if len(seen) > 1 else Message("assistant", (USE,))

    house.dispatcher.answer = answer
    first = await send(house, CREATE, "one", tools=[LOOK])
    if lost:
        house.dispatcher.waiting_for_tools.clear()
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "it"}
    results = {"role": "user", "content": [result]}
    for expected in ("tools_imported" if lost else "tool_results", "tools_imported"):
        second = await send(house, after(first), results)
        assert second.headers["x-sessionbridge-reason"] == expected
        assert [message.role for message in house.dispatcher.seen[-1]] == [
            "user",
            "assistant",
            "user",
        ]
    none = await send(house, after(second), results)
    assert error(none) == MISSING and b"are not kept" in none.body


async def test_nothing_new_is_refused(house: House) -> None:
    first = await send(house, CREATE, "one")
    nothing = await send(house, after(first))
    assert nothing.status == 400 and "messages: " in nothing.json["error"]["message"]


async def test_without_a_memory_the_client_is_told_to_go_on_without(house: House) -> None:
    house.bridge = bridge(house.settings, None, house.dispatcher)
    assert error(await send(house, CREATE, "one", origin=CLIENT_HELD)) == UNSUPPORTED
    assert error(await send(house, after("msg_sb01"), "one", origin=CLIENT_HELD)) == MISSING
    assert not house.dispatcher.seen


async def test_nothing_is_kept_in_everybody_s_session(house: House) -> None:
    house.change(unkeyed="continue")
    answer = await send(house, CREATE, "one")
    assert error(answer) == UNSUPPORTED and not house.dispatcher.seen


@pytest.mark.parametrize("kind", ["tool_addition", "tool_removal"])
async def test_tools_that_come_and_go_are_not_for_threads(house: House, kind: str) -> None:
    change = {"type": kind, "tool": {"type": "tool_reference", "name": "look"}}
    message = {"role": "system", "content": [change]}
    answer = await send(house, CREATE, "one", message, tools=[LOOK])
    assert error(answer) == UNSUPPORTED
    assert answer.json["error"]["details"]["unsupported"] == [kind]


@pytest.mark.parametrize(
    ("thread", "field"),
    [
        ("create", "thread"),
        ({"type": "begin"}, "thread.type"),
        ({}, "thread.type"),
        ({"type": "continue"}, "thread.previous_message_id"),
        ({"type": "continue", "previous_message_id": 7}, "thread.previous_message_id"),
        ({**CREATE, "previous_message_id": "msg_sb1"}, "thread.previous_message_id"),
    ],
)
async def test_what_is_no_thread_is_named(house: House, thread: Any, field: str) -> None:
    answer = await send(house, thread, "one")
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith(f"{field}: ")
    assert "details" not in answer.json["error"]


async def test_a_turn_that_failed_leaves_the_thread_where_it_was(house: House) -> None:
    first = await send(house, CREATE, "one")
    house.dispatcher.breaks = RuntimeError()
    assert b"error" in (await send(house, after(first), "two", stream=True)).body
    house.dispatcher.breaks = None
    answer = await send(house, after(first), "three")
    assert answer.headers["x-sessionbridge-reason"] in ("continued", "branched")
    assert [text for _, text in words(house.dispatcher.seen[-1])][0::2] == ["one", "three"]


@pytest.mark.parametrize(
    ("fields", "response"),
    [
        ({"thread": after("msg_sb1")}, "msg_sb1"),
        ({"thread": after("msg_1")}, "msg_1"),
        ({"thread": after("msg_sb1"), "previous_response_id": "resp_1"}, "msg_sb1"),
        ({"thread": after("msg_1"), "previous_response_id": "resp_sb1"}, "resp_sb1"),
        ({"thread": CREATE}, None),
        ({"thread": {"previous_message_id": [1]}}, None),
        ({"thread": "continue"}, None),
        ({"thread": ["previous_message_id"]}, None),
    ],
)
def test_the_id_to_go_on_from_is_found_in_any_body(fields: Any, response: str | None) -> None:
    assert named_by(Origins.default(), {}, fields).response == response
