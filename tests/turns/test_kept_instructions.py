"""Instructions that a request does not repeat, where the history is kept here: they hold on, in
every branch and over restarts, in a file beside the transcript and never in the database."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.transcript.files import delete
from sessionbridge.claude.transcript.instructions import SUFFIX, keep, kept
from sessionbridge.model import Block, Instructions, Message, Origin, Thread, Tool, TurnRequest
from sessionbridge.sessions.planning.instructions import of_conversation, with_earlier
from tests.support.bridge_fixtures import (
    CLIENT_HELD,
    LEARNT,
    SERVER_HELD,
    Answer,
    House,
    ask,
    house,
)
from tests.support.proxy import running_proxy
from tests.support.scripted_api import ScriptedServer
from tests.support.scripted_dispatcher import numbered

__all__ = ["house"]


def turn(system: str, *items: str, previous: str | None = None) -> TurnRequest:
    return TurnRequest("m", system, (), stream=False, previous=previous, items=items)


CHAINED: dict[str, tuple[TurnRequest, tuple[str, ...], str, tuple[str, ...]]] = {
    "nothing earlier": (turn("Now.\n\n"), (), "Now.\n\n", ()),
    "only earlier": (turn(""), ("A", "B"), "A\n\nB", ("A", "B")),
    "instructions of this request come first": (turn("Now."), ("A",), "Now.\n\nA", ("A",)),
    "and its items last": (
        turn("Now.\n\nC\n\nD", "C", "D"),
        ("A",),
        "Now.\n\nA\n\nC\n\nD",
        ("A", "C", "D"),
    ),
    "items alone": (turn("C", "C"), ("A", "B"), "A\n\nB\n\nC", ("A", "B", "C")),
    "said again": (turn("A\n\nC", "A", "C"), ("A", "B"), "B\n\nA\n\nC", ("B", "A", "C")),
    "all said again": (turn("A", "A"), ("A",), "A", ("A",)),
}


@pytest.mark.parametrize("asked, earlier, system, items", CHAINED.values(), ids=CHAINED)
def test_items_add_to_those_that_hold(
    asked: TurnRequest, earlier: tuple[str, ...], system: str, items: tuple[str, ...]
) -> None:
    told = with_earlier(asked, earlier)
    assert told.system == system
    assert told.items == items == of_conversation(told).texts


@pytest.mark.parametrize("system, told", [("", "Be kind."), ("Be rude.", "Be rude.")])
def test_a_system_prompt_takes_the_place_of_the_one_before(system: str, told: str) -> None:
    asked = with_earlier(TurnRequest("m", system, (), stream=False), ("Be kind.",))
    assert (asked.system, of_conversation(asked)) == (told, Instructions((told,)))


def test_each_entry_has_its_own(tmp_path: Path) -> None:
    transcript = tmp_path / "session.jsonl"
    assert kept(transcript, "e0") == Instructions()
    keep(transcript, "e0", Instructions())
    assert not transcript.with_suffix(SUFFIX).exists()
    told = {"e1": ("A\nB",), "e2": ("A\nB",), "e3": ("A\nB", "ü"), "e4": (), "e5": (), "e6": ("C",)}
    for entry, texts in told.items():
        keep(transcript, entry, Instructions(texts))
    for entry, texts in {**told, "e7": ()}.items():
        assert kept(transcript, entry) == Instructions(texts)
    path = transcript.with_suffix(SUFFIX)
    assert path.read_text().count("A\\nB") == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    delete(transcript)
    assert not path.exists()


def test_a_line_that_was_cut_short_harms_no_other(tmp_path: Path) -> None:
    transcript = tmp_path / "session.jsonl"
    keep(transcript, "e1", Instructions(("A",)))
    with transcript.with_suffix(SUFFIX).open("a") as file:
        file.write('\n{"entry": "e2", "texts": ["B')
    keep(transcript, "e3", Instructions(("A",)))
    keep(transcript, "e4", Instructions(("C",)))
    found = [kept(transcript, f"e{n}").texts for n in range(1, 5)]
    assert found == [("A",), (), ("A",), ("C",)]


def test_a_thread_has_its_tools_beside_the_texts(tmp_path: Path) -> None:
    transcript = tmp_path / "session.jsonl"
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    tools = Tool("look", "é", schema), Tool("a", "", {})
    first, other = Thread("Be kind.", tools), Thread("", ())
    told = {
        "e1": Instructions(("Be kind.",), first),
        "e2": Instructions(("Be kind.", "More."), first),
        "e3": Instructions(("More.",)),
        "e4": Instructions((), other),
        "e5": Instructions((), other),
    }
    for entry, one in told.items():
        keep(transcript, entry, one)
    assert {entry: kept(transcript, entry) for entry in told} == told
    assert transcript.with_suffix(SUFFIX).read_text().count("properties") == 1


def test_a_file_without_threads_is_read_as_before(tmp_path: Path) -> None:
    transcript = tmp_path / "session.jsonl"
    lines = '\n{"entry": "e1", "texts": ["A"]}\n\n{"entry": "e2"}\n'
    transcript.with_suffix(SUFFIX).write_text(lines)
    assert kept(transcript, "e2") == Instructions(("A",))


async def respond(
    house: House, words: str, *rules: str, origin: Origin | None = None, **fields: Any
) -> Answer:
    items = [{"role": "developer", "content": rule} for rule in rules]
    request = {"model": "m", "input": [*items, {"role": "user", "content": words}], **fields}
    answer = await ask(house.bridge, json.dumps(request).encode(), origin, "responses")
    assert answer.status == 200, answer.body
    return answer


async def test_items_hold_in_what_follows_and_instructions_do_not(house: House) -> None:
    first = await respond(house, "one", "Rule.", instructions="Now.")
    second = await respond(house, "two", previous_response_id=first.json["id"])
    house.restart()
    third = await respond(house, "three", "More.", previous_response_id=second.json["id"])
    await respond(house, "four", previous_response_id=third.json["id"], instructions="Last.")
    await respond(house, "other", previous_response_id=first.json["id"])
    assert [job.system for job in house.dispatcher.jobs] == [
        "Now.\n\nRule.",
        "Rule.",
        "Rule.\n\nMore.",
        "Last.\n\nRule.\n\nMore.",
        "Rule.",
    ]
    database = b"".join(p.read_bytes() for p in house.settings.home.glob("session_map.db*"))
    assert b"Rule." not in database


async def test_items_hold_in_a_conversation_that_is_kept_here(house: House) -> None:
    await respond(house, "one", "Rule.", origin=SERVER_HELD, store=False)
    await respond(house, "two", "More.", origin=SERVER_HELD, store=False, instructions="Now.")
    await respond(house, "three", origin=SERVER_HELD, store=False)
    systems = [job.system for job in house.dispatcher.jobs]
    assert systems == ["Rule.", "Now.\n\nRule.\n\nMore.", "Rule.\n\nMore."]


async def test_items_hold_in_the_round_of_a_tool_and_where_its_process_is_lost(
    house: House,
) -> None:
    use: Block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    house.dispatcher.answer = lambda seen: (
        Message("assistant", (use,)) if len(seen) == 1 else numbered(seen)
    )
    tools = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    first = await respond(house, "one", "Rule.", tools=tools)
    found = {"type": "function_call_output", "call_id": "toolu_1", "output": "it"}
    request = {"model": "m", "input": [found], "previous_response_id": first.json["id"]}
    house.dispatcher.waiting_for_tools.clear()
    answer = await ask(house.bridge, json.dumps(request).encode(), None, "responses")
    assert answer.headers["x-sessionbridge-reason"] == "tools_imported"
    await respond(house, "three", previous_response_id=answer.json["id"])
    assert {job.system for job in house.dispatcher.jobs} == {"Rule."}


async def test_a_chat_that_is_kept_here_keeps_its_system_prompt(house: House) -> None:
    for words, fields in [
        ("one", {"system": "Be kind."}),
        ("two", {}),
        ("three", {"system": "Be rude."}),
        ("four", {}),
    ]:
        assert (await house.ask(words, origin=SERVER_HELD, **fields)).status == 200
    systems = [job.system for job in house.dispatcher.jobs]
    assert systems == ["Be kind.", "Be kind.", "Be rude.", "Be rude."]


@pytest.mark.parametrize("origin", [CLIENT_HELD, LEARNT])
async def test_what_the_client_sends_is_the_truth_where_it_keeps_the_history(
    house: House, origin: Any
) -> None:
    first = await house.ask("one", origin=origin, system="Be kind.")
    history = [("user", "one"), ("assistant", first.text), ("user", "two")]
    await house.ask(history, origin=origin)
    assert [job.system for job in house.dispatcher.jobs] == ["Be kind.", ""]


async def test_a_turn_whose_instructions_cannot_be_kept_is_not_committed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*place: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(house.dispatcher, "keep_instructions", full)
    answer = await house.ask("one", origin=SERVER_HELD, system="Be kind.")
    assert answer.status == 503 and b"No space left" in answer.body
    assert house.turns() == 0


def test_items_hold_over_a_restart_and_in_a_branch(tmp_path: Path, api: ScriptedServer) -> None:
    options = {"unkeyed": "stateless"}
    rule = {"role": "developer", "content": "Always say please."}
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        client = proxy.openai({}).responses
        asked: Any = [rule, {"role": "user", "content": "One (kept)"}]
        first = client.create(model="sonnet", input=asked)
        second = client.create(model="sonnet", input="Two", previous_response_id=first.id)
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        client = proxy.openai({}).responses
        client.create(model="sonnet", input="Three", previous_response_id=second.id)
        client.create(model="sonnet", input="Other", previous_response_id=first.id)
    systems = [json.dumps(call.body["system"]) for call in api.heard("(kept)")]
    assert len(systems) == 4
    assert all(system.count("Always say please.") == 1 for system in systems)
