"""The table of the CLI's own words is kept to the letter; what a client says is never dropped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from sessionbridge.claude.cli.child_mark import CHILD_HEADER
from sessionbridge.cli.demo.scripted_api import Call, Reply, Usage
from tests.support.claude_cli import staged
from tests.support.scripted_api import ScriptedServer
from tests.support.whole_requests import (
    DATE,
    ENVIRONMENT,
    IDENTITY,
    INPUT_RULE,
    MODEL,
    STRUCTURED,
    VERSION,
    Unaccounted,
    check,
    shown,
)

ENV = ENVIRONMENT.format(
    folder="/var/tmp/sessionbridge-01_3abcd/claude",
    platform=sys.platform,
    system=f"{os.uname().sysname} {os.uname().release}",
)
POWERED = MODEL.format(name="Sonnet 4.5", model="claude-sonnet-4-5", month="May", year="2025")
TODAY = DATE.format(date=date.today())
NOTES = (ENV, POWERED, TODAY)
REMINDERS = [f"<system-reminder>\n{note}\n</system-reminder>" for note in NOTES]
SYSTEM = (VERSION.format(version="2.1.332.0af"), IDENTITY)
HI = "Hi"
HEADERS = {CHILD_HEADER.title(): "secret"}
BARE = {**HEADERS, "X-Api-Key": "key"}
OWN = "<system-reminder>Mine.</system-reminder>"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def called(
    *messages: tuple[str, Any],
    system: tuple[str, ...] = (*SYSTEM, "Be brief."),
    headers: dict[str, str] = HEADERS,
    tools: tuple[dict[str, Any], ...] = (),
) -> Call:
    body = {
        "model": "claude-sonnet-4-5",
        "system": [text(block) for block in system],
        "messages": [{"role": role, "content": content} for role, content in messages],
        "tools": tools,
    }
    return Call(headers, body, Reply((), Usage(1, 1, 1, 1)))


def in_system(*own: str) -> Call:
    return called(("user", HI), system=(*own, "Be brief."))


def in_a_message(*own: str) -> Call:
    return called(("user", HI), ("system", [text("\n\n".join(own))]))


def in_blocks(*own: str) -> Call:
    return called(("user", [*map(text, own), text(HI)]))


def in_a_result(*own: str) -> Call:
    told = "\n\n".join((HI, *own))
    return called(("user", [{"type": "tool_result", "tool_use_id": "t", "content": told}]))


def in_parts_of_a_result(*own: str) -> Call:
    parts = [text("one"), text("\n\n".join((HI, *own)))]
    return called(("user", [{"type": "tool_result", "tool_use_id": "t", "content": parts}]))


PLACES: dict[str, tuple[Callable[..., Call], tuple[str, ...]]] = {
    "system prompt": (in_system, SYSTEM),
    "system message": (in_a_message, NOTES),
    "reminders in a system message": (in_a_message, tuple(REMINDERS)),
    "blocks": (in_blocks, (*REMINDERS[:2], f"{REMINDERS[2]}\n")),
}
every_place = pytest.mark.parametrize("place", PLACES)


@every_place
def test_what_the_table_has_is_the_clis(place: str) -> None:
    make, own = PLACES[place]
    call = make(*own)
    check(call)
    assert shown(call).system == "Be brief."
    assert str(own[0]) not in str(shown(call))
    assert HI in str(shown(call).messages)


@every_place
def test_one_character_more_is_refused_wherever_it_is(place: str) -> None:
    make, own = PLACES[place]
    for changed in _with_a_space(own):
        with pytest.raises(Unaccounted):
            check(make(*changed))


def _with_a_space(own: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for number, words in enumerate(own):
        for place in range(len(words)):
            yield (*own[:number], f"{words[:place]} {words[place:]}", *own[number + 1 :])


@pytest.mark.parametrize(
    "call",
    [
        in_system(IDENTITY),
        in_system(*SYSTEM[::-1]),
        in_a_message(*NOTES[1:]),
        in_a_message(*NOTES[::-1]),
        in_a_message(*REMINDERS[1:]),
        in_a_result(*REMINDERS),
        in_parts_of_a_result(*REMINDERS),
    ],
)
def test_what_stands_together_stays_so_and_in_its_place(call: Call) -> None:
    with pytest.raises(Unaccounted):
        check(call)


@every_place
def test_a_bare_cli_may_add_nothing_but_who_it_is(place: str) -> None:
    make, own = PLACES[place]
    call = make(*own)
    with pytest.raises(Unaccounted):
        check(Call(BARE, call.body, call.reply))
    check(called(("user", HI), system=(IDENTITY, "Be brief."), headers=BARE))


def test_other_days_and_models_are_not_those_of_the_request() -> None:
    for own in (TODAY.replace("20", "19"), POWERED.replace("sonnet-4-5", "haiku-4-5")):
        with pytest.raises(Unaccounted):
            check(in_blocks(f"<system-reminder>\n{own}\n</system-reminder>"))


def test_a_second_system_prompt_is_refused() -> None:
    with pytest.raises(Unaccounted):
        check(in_system(*SYSTEM, "Be kind."))


def test_what_a_client_says_as_the_cli_does_is_not_dropped() -> None:
    call = in_blocks(OWN)
    assert shown(call).messages == [("user", [text(OWN), text(HI)])]
    with pytest.raises(Unaccounted):
        check(call)
    check(call, {OWN})


def test_tools_are_the_clients_but_for_what_the_table_has() -> None:
    schema = {"type": "object"}
    rule = INPUT_RULE.format(rule="Provide all.")
    told = {"look": "Looks.", "add": f"{rule}Adds.", "StructuredOutput": STRUCTURED}
    tools = tuple(
        {"name": name, "description": description, "input_schema": schema}
        for name, description in told.items()
    )
    assert shown(called(("user", HI), tools=tools)).tools == {
        "look": ("Looks.", schema),
        "add": ("Adds.", schema),
    }
    own = ({**tools[2], "description": f"{STRUCTURED} "},)
    assert "StructuredOutput" in shown(called(("user", HI), tools=own)).tools


def test_a_request_that_is_not_the_clis_is_the_clients_whole() -> None:
    call = called(("user", [text(OWN)]), headers={})
    check(call)
    assert shown(called(("user", HI), system=("Be brief.",), headers={})).system == "Be brief."


async def test_a_stage_refuses_what_its_test_has_not_looked_at(tmp_path: Path) -> None:
    with pytest.raises(Unaccounted):
        async with staged(tmp_path, {}) as stage:
            stage.api.calls.append(in_blocks(OWN))


def test_the_api_that_tests_share_refuses_it_once() -> None:
    with ScriptedServer() as api:
        url = f"{api.url}/v1/messages"
        httpx.post(url, json=in_blocks(OWN).body, headers=HEADERS).raise_for_status()
        with pytest.raises(Unaccounted):
            api.check()
        api.check()
        api.said.add(OWN)
        httpx.post(url, json=in_blocks(OWN).body, headers=HEADERS).raise_for_status()
        api.check()
