"""A conversation as the dashboard shows it: the tree of its turns, and what was said in each."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from sessionbridge.claude.job import Job
from sessionbridge.dashboard.metrics import Errors
from sessionbridge.dashboard.pages import Dashboard
from sessionbridge.model import Block, Delta, Dispatched, Message, Origin
from tests.support.bridge_fixtures import CLIENT_HELD, SERVER_HELD
from tests.support.dashboard_fixtures import IDLE, Looking, looking
from tests.support.scripted_dispatcher import Conversation, ScriptedDispatcher
from tests.support.spoken import assistant, image, user
from tests.support.tool_rounds import found, text, use

__all__ = ["looking"]

HELLO = [("user", "Hello"), ("assistant", "1: Hello")]
CALL = assistant("I look", use("toolu_1", at="it"))
ROUND = (user("Look"), CALL, user(found("toolu_1", "It is here")))


class FromNothing(ScriptedDispatcher):
    """Gives every conversation to a process that was started ahead, whole."""

    def __init__(self) -> None:
        super().__init__()
        self._spares = count(1)

    async def run(self, job: Job) -> AsyncGenerator[Dispatched | Delta]:
        plan = job.plan.from_nothing
        if plan is not None and plan is not job.plan:
            job = replace(job, plan=plan, session_id=f"spare-{next(self._spares)}")
            job = replace(job, plan=replace(plan, name="import"))
        async with aclosing(super().run(job)) as deltas:
            async for delta in deltas:
                yield delta


def calls_when_told_to_look(seen: Conversation) -> str | Message:
    return CALL if seen[-1].blocks[-1].get("text") == "Look" else "Well"


def words(turn: dict[str, Any]) -> list[tuple[str, str]]:
    assert turn["messages"] is not None
    return [(m["role"], "|".join(b["text"] for b in m["blocks"])) for m in turn["messages"]]


def blocks(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [block for turn in turns for m in turn["messages"] for block in m["blocks"]]


def calls(turns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [block for block in blocks(turns) if block["type"] == "call"]


async def test_each_turn_shows_what_it_added(looking: Looking) -> None:
    await looking.ask("Hello")
    await looking.ask([*HELLO, ("user", "More")])
    first, second = await looking.turns()
    assert words(first) == HELLO
    assert words(second) == [("user", "More"), ("assistant", "3: More")]
    assert (first["parent"], second["parent"]) == (None, first["id"])
    assert (second["plan"], second["reason"], second["process"]) == ("resume", "continued", "new")
    assert (second["input_tokens"], second["cache_read_input_tokens"]) == (10, 40)
    assert (second["cost_usd"], second["status"]) == (0.25, "end_turn")
    assert first["session"] == second["session"]


async def test_a_branch_hangs_where_it_left_and_shows_only_its_own(looking: Looking) -> None:
    await looking.ask("Hello")
    await looking.ask([*HELLO, ("user", "Left")])
    await looking.ask([*HELLO, ("user", "Right")])
    first, left, right = await looking.turns()
    assert left["parent"] == right["parent"] == first["id"]
    assert right["session"] != left["session"]
    assert right["reason"] == "branched"
    assert words(right) == [("user", "Right"), ("assistant", "3: Right")]


async def test_a_branch_may_begin_in_the_middle_of_a_turn(looking: Looking) -> None:
    told = [*HELLO, ("user", "B"), ("assistant", "C")]
    await looking.ask([*told, ("user", "D")])
    await looking.ask([*HELLO, ("user", "E")])
    whole, branch = await looking.turns()
    assert branch["parent"] == whole["id"]
    assert words(whole) == [*told, ("user", "D"), ("assistant", "5: D")]
    assert words(branch) == [("user", "E"), ("assistant", "3: E")]


async def test_where_a_branch_begins_is_known_without_the_clients_own_words(
    looking: Looking,
) -> None:
    """A transcript may hold another answer than the client was given."""

    async def said(session: str, upto: str, after: str | None) -> Sequence[Message]:
        heard = await looking.dispatcher.said(session, upto, after)
        return [assistant("Else") if m.role == "assistant" else m for m in heard]

    await looking.ask([*HELLO, ("user", "B"), ("assistant", "C"), ("user", "D")])
    await looking.ask([*HELLO, ("user", "E")])
    looking.dashboard = Dashboard(looking.reports, lambda: IDLE, lambda _: said, Errors(), {})
    _, branch = await looking.turns()
    assert words(branch) == [("user", "E"), ("assistant", "Else")]


async def test_an_import_shows_all_it_brought_in(looking: Looking) -> None:
    told = [("user", "A"), ("assistant", "B"), ("user", "C")]
    await looking.ask(told)
    (turn,) = await looking.turns()
    assert (turn["plan"], turn["reason"]) == ("import", "imported")
    assert words(turn) == [*told, ("assistant", "3: C")]


async def test_what_was_brought_in_past_a_known_point_is_shown_with_it(looking: Looking) -> None:
    await looking.ask("Hello")
    added = [("user", "B"), ("assistant", "not its own"), ("user", "C")]
    await looking.ask([*HELLO, *added])
    first, second = await looking.turns()
    assert second["parent"] == first["id"]
    assert words(second) == [*added, ("assistant", "5: C")]


async def test_a_conversation_told_anew_to_a_spare_is_not_shown_twice(tmp_path: Path) -> None:
    looking = Looking(tmp_path, FromNothing())
    await looking.ask("Hello")
    await looking.ask([*HELLO, ("user", "Left")])
    await looking.ask([*HELLO, ("user", "Right")])
    turns = await looking.turns()
    looking.close()
    assert [turn["session"] == "spare-1" for turn in turns] == [False, False, True]
    assert [turn["parent"] for turn in turns] == [None, turns[0]["id"], turns[0]["id"]]
    assert [words(turn)[0] for turn in turns[1:]] == [("user", "Left"), ("user", "Right")]


async def test_a_history_kept_here_is_shown_as_well(looking: Looking) -> None:
    await looking.ask("Hello", origin=SERVER_HELD)
    await looking.ask("More", origin=SERVER_HELD)
    first, second = await looking.turns(SERVER_HELD)
    assert second["reason"] == "appended"
    assert words(first) == HELLO
    assert words(second) == [("user", "More"), ("assistant", "3: More")]


async def test_a_transcript_that_is_gone_leaves_the_ledgers_facts(looking: Looking) -> None:
    first = await looking.ask("Hello")
    await looking.ask([*HELLO, ("user", "Left")])
    await looking.ask([*HELLO, ("user", "Right")])
    looking.dispatcher.lose(first.headers["x-sessionbridge-session"])
    turns = await looking.turns()
    assert [turn["messages"] is None for turn in turns] == [True, True, False]
    assert words(turns[2]) == [("user", "Right"), ("assistant", "3: Right")]
    assert [turn["input_tokens"] for turn in turns] == [10, 10, 10]


@pytest.mark.parametrize("origin", [CLIENT_HELD, SERVER_HELD], ids=["client", "server"])
@pytest.mark.parametrize("lost", [False, True], ids=["goes on", "brought in"])
async def test_a_call_has_its_result_from_the_turn_that_brought_it(
    looking: Looking, origin: Origin, lost: bool
) -> None:
    looking.dispatcher.answer = calls_when_told_to_look
    await looking.send(ROUND[0], origin=origin)
    if lost:
        looking.dispatcher.waiting_for_tools.clear()
    await looking.send(*(ROUND if origin is CLIENT_HELD else ROUND[2:]), origin=origin)
    turns = await looking.turns(origin)
    assert [turn["status"] for turn in turns] == ["tool_use", "end_turn"]
    (result,) = [result for call in calls(turns) for result in call["results"]]
    assert (result["turn"], result["error"]) == (turns[1]["id"], False)
    assert [block["text"] for block in result["blocks"]] == ["It is here"]
    assert [(call["name"], json.loads(call["input"])) for call in calls(turns)][0] == (
        "look",
        {"at": "it"},
    )
    assert turns[1]["messages"][-1]["blocks"] == [{"type": "text", "text": "Well"}]


async def test_a_result_that_was_brought_twice_is_shown_twice(looking: Looking) -> None:
    looking.dispatcher.answer = calls_when_told_to_look
    for talk in (ROUND[:1], ROUND, ROUND):
        await looking.send(*talk)
    turns = await looking.turns()
    assert [turn["reason"] for turn in turns][1:] == ["tool_results", "tools_imported"]
    brought = [result["turn"] for call in calls(turns) for result in call["results"]]
    assert brought == [turns[1]["id"], turns[2]["id"]]
    assert not [block for block in blocks(turns) if block["type"] == "result"]


async def test_pictures_and_thoughts_are_told_apart_from_words(looking: Looking) -> None:
    paper = {"media_type": "application/pdf", "type": "base64", "data": "A" * 400}
    shown = user("See", image(), {"type": "document", "source": paper})
    hidden: Block = {"type": "redacted_thinking", "data": "secret"}
    thought: Block = {"type": "thinking", "thinking": "Hm", "signature": "secret"}
    strange = cast("Block", {"type": "server_tool_use", "id": "x"})

    async def said(session: str, upto: str, after: str | None) -> Sequence[Message]:
        return shown, assistant(thought, hidden, strange, "Yes")

    await looking.ask("Hello")
    dashboard = Dashboard(looking.reports, lambda: IDLE, lambda _: said, Errors(), {})
    query = {"platform": "tests", "id": "chat-1", "provider": "claude"}
    page = await dashboard.answer("/api/conversation", query)
    ((_, picture, document), answer) = [
        message["blocks"] for message in json.loads(page.body)["turns"][0]["messages"]
    ]
    assert (picture["type"], picture["media_type"]) == ("image", "image/png")
    assert (document["type"], document["bytes"]) == ("document", 300)
    assert answer == [
        {"type": "thinking", "text": "Hm"},
        {"type": "thinking", "text": None},
        {"type": "other", "kind": "server_tool_use"},
        {"type": "text", "text": "Yes"},
    ]
    assert b"secret" not in page.body and b"iVBOR" not in page.body


async def test_a_result_without_its_call_stays_where_it_was_brought(looking: Looking) -> None:
    async def said(session: str, upto: str, after: str | None) -> Sequence[Message]:
        return (user(found("toolu_9", [text("late"), image()], is_error=True)),)

    await looking.ask("Hello")
    dashboard = Dashboard(looking.reports, lambda: IDLE, lambda _: said, Errors(), {})
    query = {"platform": "tests", "id": "chat-1", "provider": "claude"}
    page = await dashboard.answer("/api/conversation", query)
    (block,) = json.loads(page.body)["turns"][0]["messages"][0]["blocks"]
    assert (block["type"], block["error"]) == ("result", True)
    assert [part["type"] for part in block["blocks"]] == ["text", "image"]


async def test_transcripts_are_read_again_only_when_there_is_a_new_turn(looking: Looking) -> None:
    await looking.ask("Hello")
    (turn,) = await looking.turns()
    reads = looking.reads
    assert (await looking.page(newest=str(turn["id"]))).status == 204
    assert looking.reads == reads > 0
    await looking.ask([*HELLO, ("user", "More")])
    page = await looking.page(newest=str(turn["id"]))
    assert page.status == 200
    assert len(json.loads(page.body)["turns"]) == 2


async def test_an_unknown_conversation_is_not_found(looking: Looking) -> None:
    await looking.ask("Hello")
    page = await looking.page(replace(CLIENT_HELD, external_id="nobody"))
    assert page.status == 404


@pytest.mark.parametrize("missing", ["platform", "id", "provider"])
async def test_a_conversation_has_to_be_named_whole(looking: Looking, missing: str) -> None:
    query = {"platform": "tests", "id": "chat-1", "provider": "claude"}
    del query[missing]
    page = await looking.dashboard.answer("/api/conversation", query)
    assert page.status == 400
    assert json.loads(page.body)["error"].startswith(f"{missing} is missing")
