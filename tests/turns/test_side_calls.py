"""Calls that programs make about a conversation, under its id: they stay out of it."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.model import Attempt, Message, Tool
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.sessions.planning.manner import is_akin, manner
from sessionbridge.turns.exchange import Exchange
from tests.support.bridge_fixtures import (
    CLIENT_HELD,
    LEARNT,
    SERVER_HELD,
    Answer,
    House,
    body,
    house,
)
from tests.support.scripted_dispatcher import words

__all__ = ["house"]

TITLE = "### Task:\nGenerate a concise title summarizing the chat history."
TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]
LOOK = Tool("look", "Looks.", {"type": "object", "properties": {"a": {}}})


def way(answer: Answer) -> str:
    return f"{answer.headers['x-sessionbridge-plan']} {answer.headers['x-sessionbridge-reason']}"


def session(answer: Answer) -> str:
    return answer.headers["x-sessionbridge-session"]


def mapped(house: House) -> str:
    store = house.ledger()
    try:
        (summary,) = store.sessions()
        return summary.internal_id
    finally:
        store.close()


SIDE: dict[str, dict[str, Any]] = {
    "another system prompt": {"system": "You write titles."},
    "no tools where there were": {"tools": None},
    "another model": {"model": "claude-haiku-5-5"},
}


@pytest.mark.parametrize("changes", SIDE.values(), ids=SIDE)
@pytest.mark.parametrize("first", ["the side call", "the chat"])
async def test_a_lone_side_call_and_the_chat_are_apart_before_the_chat_shows_its_history(
    house: House, changes: dict[str, Any], first: str
) -> None:
    """As LibreChat and Open WebUI make them, with the header our pages recommend."""
    chat = {"origin": LEARNT, "system": "Be kind.", "tools": TOOLS}
    calls = [("my name is Ann", chat), ("Say what this is about", chat | changes)]
    for text, fields in calls if first == "the chat" else reversed(calls):
        await house.ask(text, **fields)
    assert [words(seen) for seen in house.dispatcher.seen] == [
        [("user", text)] for text, _ in (calls if first == "the chat" else reversed(calls))
    ]
    answer = house.dispatcher.seen  # the chat goes on from its own turn
    history = [("user", "my name is Ann"), ("assistant", "1: my name is Ann"), ("user", "and?")]
    second = await house.ask(history, **chat)
    assert way(second) == "resume continued"
    assert words(answer[-1]) == history


async def test_a_task_is_told_by_its_words_where_all_else_is_equal(house: House) -> None:
    """Open WebUI without tools: title, then the chat, then tags, each one message."""
    tags = "### Task:\nGenerate 1-3 broad tags."
    for text in (TITLE, "my name is Ann", tags, TITLE):
        await house.ask(text, origin=LEARNT)
        assert words(house.dispatcher.seen[-1]) == [("user", text)]
    second = await house.ask("and my name?", origin=LEARNT)
    assert way(second) == "resume appended"
    assert [text for _, text in words(house.dispatcher.seen[-1])] == [
        "my name is Ann",
        "1: my name is Ann",
        "and my name?",
    ]


async def test_a_client_that_sends_only_what_is_new_is_remembered(house: House) -> None:
    fields = {"origin": LEARNT, "system": "Be kind.", "tools": TOOLS}
    for text in ("my name is Ann", "who am I?", "again?"):
        answer = await house.ask(text, **fields)
    assert way(answer) == "resume appended"
    assert len(words(house.dispatcher.seen[-1])) == 5


TALK = [("user", "one"), ("assistant", "1: one"), ("user", "two")]
LATER = [*TALK, ("assistant", "3: two"), ("user", "three")]


@pytest.mark.parametrize(
    "changes", [{"system": "You look after the memory."}, {"tools": TOOLS}], ids=["system", "tools"]
)
async def test_a_side_call_that_resends_the_history_has_a_branch_of_its_own(
    house: House, changes: dict[str, Any]
) -> None:
    """As Qwen Code looks after its memory after each answer."""
    main = {"origin": CLIENT_HELD, "system": "Be kind."}
    first = await house.ask("one", **main)
    side = await house.ask([*TALK[:2], ("user", "What is worth keeping?")], **(main | changes))
    assert way(side) == "fork other_settings"
    second = await house.ask(TALK, **main)
    third = await house.ask(LATER, **main)
    assert [way(answer) for answer in (second, third)] == ["resume continued"] * 2
    assert session(first) == session(second) == session(third) == mapped(house)
    assert session(side) != session(first)
    assert words(house.dispatcher.seen[-1]) == LATER


async def test_what_goes_on_with_other_settings_is_the_conversation_after_all(
    house: House,
) -> None:
    """A system prompt that changed for good: its branch is the one that is gone on with."""
    first = await house.ask("one", system="Be kind.")
    second = await house.ask(TALK, system="You know all there is.")
    assert way(second) == "fork other_settings" and mapped(house) == session(first)
    third = await house.ask(LATER, system="You know all there is.")
    assert way(third) == "resume continued" and mapped(house) == session(third) == session(second)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"system": "It is Monday. Be kind."}, {"system": "It is Tuesday. Be kind."}),
        ({"tools": TOOLS}, {"tools": [*TOOLS, {"name": "see", "input_schema": {}}]}),
        ({"tools": [*TOOLS, {"name": "see", "input_schema": {}}]}, {"tools": TOOLS}),
    ],
    ids=["a day later", "one more tool", "one tool less"],
)
async def test_a_prompt_that_is_nearly_the_same_goes_on_in_its_place(
    house: House, before: dict[str, Any], after: dict[str, Any]
) -> None:
    first = await house.ask("one", **before)
    second = await house.ask(TALK, **after)
    third = await house.ask(LATER, **before)
    assert [way(answer) for answer in (second, third)] == ["resume continued"] * 2
    assert session(first) == session(second) == session(third) == mapped(house)


WORDS = [f"word{number}" for number in range(3000)]


@pytest.mark.parametrize(
    ("one", "other", "akin"),
    [
        ("", "", True),
        ("", "Be kind.", False),
        ("It is 12:01. Be brief.", "It is 12:02. Be brief.", True),
        ("Be kind.", "You write titles.", False),
        (" ".join(WORDS), " ".join(WORDS[:2800]), True),
        (" ".join(WORDS), " ".join(WORDS[:300]), False),
        (" ".join(WORDS[:1500]), " ".join(WORDS[1500:]), False),
        (" ".join(WORDS), " ".join(reversed(WORDS)), True),
    ],
)
def test_prompts_that_share_half_of_their_words_are_akin(one: str, other: str, akin: bool) -> None:
    sketches = [manner(system, [], "m", told("hi")).sketch for system in (one, other)]
    assert is_akin(*sketches) == is_akin(*reversed(sketches)) == akin
    assert all(len(sketch) < 200 for sketch in sketches)


def test_what_has_no_sketch_is_akin_to_nothing() -> None:
    """A task, and the turns of earlier versions."""
    task = manner("", [], "m", told(TITLE)).sketch
    assert not is_akin(task, task)


async def test_a_title_call_leaves_the_conversation_its_name(house: House) -> None:
    first = await house.ask("one", system="Be kind.")
    title = await house.ask("A title, please", system="You write titles.")
    assert way(title) == "fresh first_turn" and mapped(house) == session(first)
    cleared = await house.ask("one more", system="Be kind.")
    history = [("user", "one more"), ("assistant", cleared.text), ("user", "two")]
    assert way(await house.ask(history, system="Be kind.")) == "resume continued"
    assert mapped(house) == session(cleared)


async def test_what_is_begun_anew_leaves_all_before_it_behind(house: House) -> None:
    fields = {"origin": LEARNT, "system": "Be kind."}
    await house.ask("my name is Ann", **fields)
    exchange_fields = {"origin": LEARNT, "system": "Start over."}
    exchange = Exchange("messages", LEARNT, Attempt(anew=True))
    async with aclosing(
        house.bridge.handle(exchange, body("anew", system="Start over."))
    ) as answer:
        _ = [part async for part in answer]
    last = await house.ask("who am I?", **fields)
    assert way(last) == "fresh other_settings"
    assert words(house.dispatcher.seen[-1]) == [("user", "who am I?")]
    again = await house.ask("go on", **exchange_fields)
    assert way(again) == "resume appended"


async def test_a_side_call_that_is_retried_leaves_the_conversation_its_name(house: House) -> None:
    chat = await house.ask("one", origin=LEARNT, system="Be kind.")
    for _ in range(2):
        exchange = Exchange("messages", LEARNT, Attempt(key="k1"))
        title = body("A title", system="You write titles.")
        async with aclosing(house.bridge.handle(exchange, title)) as answer:
            _ = [part async for part in answer]
    assert exchange.outcome.plan is not None and exchange.outcome.plan.reason == "retried"
    assert mapped(house) == session(chat)


def told(text: str) -> Any:
    return chain([Message("user", ({"type": "text", "text": text},))])


def test_a_manner_is_system_prompt_tools_and_model() -> None:
    usual = manner("Be kind.", [LOOK], "m", told("hi"))
    assert manner(" Be kind.\n", [LOOK], "m", told("other words")) == usual
    other = Tool("look", "Looks.", {"properties": {"a": {}}, "type": "object"})
    assert manner("Be kind.", [other], "m", told("hi")) == usual
    for differs in (
        manner("Be brief.", [LOOK], "m", told("hi")),
        manner("Be kind.", [], "m", told("hi")),
        manner("Be kind.", [LOOK, Tool("see", "", {})], "m", told("hi")),
        manner("Be kind.", [LOOK], "n", told("hi")),
    ):
        assert differs != usual


@pytest.mark.parametrize(
    "text",
    [
        TITLE,
        "Analyze this conversation and provide:\n1. The detected language",
        "Provide a concise, 5-word-or-less title for the conversation, using its same language",
    ],
)
def test_tasks_that_programs_write(text: str) -> None:
    assert manner("", [], "m", told(text)).is_task
    assert not manner("", [], "m", told(f"I said: {text}")).is_task


def test_the_recorded_title_call_of_open_webui_is_one() -> None:
    path = Path(__file__).parent.parent / "captured" / "open-webui-chat-header.json"
    recorded = json.loads(path.read_text("utf-8"))["side_calls"]
    for call in recorded:
        (message,) = call["body"]["messages"]
        assert manner("", [], "m", told(message["content"])).is_task


async def test_a_history_kept_here_goes_on_from_its_newest_turn_however_that_was_asked(
    house: House,
) -> None:
    """Also where the session before it was lost, and all had to be brought in."""
    await house.ask("A title, please", origin=SERVER_HELD, system="You write titles.")
    house.dispatcher.sessions.clear()
    await house.ask(TALK, origin=SERVER_HELD)
    last = await house.ask("three", origin=SERVER_HELD)
    assert way(last) == "resume appended"
    assert words(house.dispatcher.seen[-1]) == [*TALK, ("assistant", "3: two"), ("user", "three")]
