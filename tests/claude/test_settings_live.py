"""Guards what the settings of a process that runs rest on and nobody documents: that the CLI takes
others between two turns, and shows the model nothing of it.

A CLI that fails here can still be used: it is started anew for each turn with other settings.

One model is asked by login and one by key; `scripts/settings` has more of them asked for everything
both ways.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.cli.process import CliProcess
from sessionbridge.claude.cli.settings import requests
from sessionbridge.claude.job import Settings
from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.cli.demo.scripted_api import Call
from sessionbridge.errors import SettingRefused, ToolsLost
from sessionbridge.model import Parameters, Thinking, Tool
from tests.support.claude_cli import (
    KEY,
    LOGIN,
    WHOLE,
    Stage,
    answer,
    children,
    command_line,
    isolated,
    job,
    some,
    staged,
    until,
)
from tests.support.live_processes import ASKED, kind, only_child, serving
from tests.support.tool_rounds import LOOK, OTHER, calling, found, returning, use

MODELS = some(["claude-opus-5-5", "claude-haiku-4-5"], ["claude-sonnet-4-5", "claude-sonnet-5"])
BY = {"login": LOGIN, "key": KEY}


def ways(of: Mapping[str, Any]) -> pytest.MarkDecorator:
    """With the stage for each, by login and by key in turn; by both where all is asked for."""
    found = [
        pytest.param(credentials, value, id=f"{name}-{by}")
        for number, (name, value) in enumerate(of.items())
        for place, (by, credentials) in enumerate(BY.items())
        if WHOLE or place == number % len(BY)
    ]
    return pytest.mark.parametrize(("stage", "asked_of"), found, indirect=["stage"])


by_login = pytest.mark.parametrize(
    "stage", [*BY.values()] if WHOLE else [LOGIN], ids=[*BY] if WHOLE else ["login"], indirect=True
)
"""Where nothing hangs on it."""


BOTH = Parameters(tools=(LOOK, OTHER), max_tokens=500)
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
CHANGED: dict[str, dict[str, Any]] = {
    "system": {"system": "Be long, and say ü."},
    "half a character": {"system": "\ud800"},
    "max_tokens": {"parameters": Parameters(tools=(LOOK, OTHER), max_tokens=77)},
    "no max_tokens": {"parameters": Parameters(tools=(LOOK, OTHER))},
    "effort": {"parameters": Parameters(tools=(LOOK, OTHER), max_tokens=500, effort="low")},
    "fewer tools": {"parameters": Parameters(tools=(LOOK,), max_tokens=500)},
    "no tools": {"parameters": Parameters(max_tokens=500)},
    "another tool": {
        "parameters": Parameters(
            tools=(Tool("look", "Looks twice.", {"type": "object"}), OTHER), max_tokens=500
        )
    },
    "compaction": {"compaction": True},
    "all": {"system": "All.", "parameters": Parameters(tools=(OTHER,), effort="max")},
}
BUDGET = {"parameters": replace(BOTH, max_tokens=9000, thinking=Thinking(budget=2000))}
THOUGHTS: list[dict[str, Any]] = [
    {"parameters": Parameters(max_tokens=9000)},
    {"parameters": Parameters(max_tokens=9000, thinking=Thinking())},
    BUDGET,
    {"parameters": replace(BOTH, thinking=Thinking())},
    {"parameters": Parameters(max_tokens=9000)},
    {"parameters": Parameters(max_tokens=9000, thinking=Thinking(budget=3000))},
]
"""Each way after each other, also from a budget to none and back, with tools and without."""


@pytest.fixture(params=[*BY.values()], ids=[*BY])
async def stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path), request.param) as stage:
        yield stage


_DAY = re.compile(r"\b20\d\d-\d\d-\d\d\b")
"""Of which there may be two in one test."""


def told(call: Call) -> Mapping[str, Any]:
    """All that the model is shown, and how it is asked."""
    plain = (
        "model",
        "max_tokens",
        "thinking",
        "output_config",
        "tools",
        "system",
        "context_management",
    )
    messages = [
        (message["role"], _without_marks(message["content"])) for message in call.body["messages"]
    ]
    shown = {name: _without_marks(call.body.get(name)) for name in plain}
    return shown | {"messages": messages, "betas": call.headers["Anthropic-Beta"]}


def _without_marks(value: Any) -> Any:
    match value:
        case list():
            return [_without_marks(one) for one in value]
        case dict():
            return {k: _without_marks(one) for k, one in value.items() if k != "cache_control"}
        case str():
            return _DAY.sub("today", value)
    return value


async def asked_in_turns(
    dispatcher: ClaudeDispatcher, model: str, changes: Iterable[Mapping[str, Any]], expected: str
) -> None:
    """One conversation, each turn of which has other settings than the one before."""
    first = turn = await answer(dispatcher, job("My name is Ann", model=model, parameters=BOTH))
    processes = children()
    for changed in changes:
        how = {"model": model, "parameters": BOTH, **changed}
        turn = await answer(dispatcher, job("Who am I?", "resume", after=turn, **how))
        assert kind(turn) == expected
        if expected == "live":
            assert children() == processes
    assert turn.session_id == first.session_id


def halves(stage: Stage) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    calls = [told(call) for call in stage.api.calls]
    return calls[: len(calls) // 2], calls[len(calls) // 2 :]


@ways({model: model for model in MODELS})
async def test_the_model_is_asked_as_by_a_process_that_was_started_so(
    stage: Stage, asked_of: str
) -> None:
    model = asked_of
    changes = [*CHANGED.values(), *THOUGHTS] if WHOLE or model == MODELS[0] else THOUGHTS
    async with serving(stage.profile, live=1) as dispatcher:
        await asked_in_turns(dispatcher, model, changes, "live")
    async with serving(stage.profile, live=0) as dispatcher:
        await asked_in_turns(dispatcher, model, changes, "new")
    live, new = halves(stage)
    assert live == new


FIRST: Mapping[str, Mapping[str, Any]] = {
    "nothing": {"system": "", "parameters": Parameters()},
    "a schema": {"parameters": Parameters(schema=SCHEMA)},
    "a schema and tools": {"parameters": replace(BOTH, schema=SCHEMA)},
    "a budget": BUDGET,
    "compaction": CHANGED["compaction"],
    "all": CHANGED["all"],
}
BY_MODEL = {name: FIRST[name] for name in ("a budget", "all")}
"""What a model has a part in."""


def are_there(dispatcher: ClaudeDispatcher, spares: int) -> bool:
    return dispatcher.processes == (0, spares)


@ways(
    {
        "kept": ([*MODELS, "haiku"] if WHOLE else MODELS, "session"),
        "not kept": (MODELS[:1] if WHOLE else MODELS[1:2], "none"),
    }
)
async def test_a_spare_asks_the_model_as_one_that_was_started_so(
    stage: Stage, asked_of: tuple[list[str], Any]
) -> None:
    """One conversation after the other, each of which has other settings than the one before."""
    models, memory = asked_of
    asks = [
        (model, changes)
        for model in models
        for changes in (FIRST if WHOLE or model == MODELS[0] else BY_MODEL).values()
    ]
    for spare, expected in ((2, "spare"), (0, "new")):
        async with serving(stage.profile, spare=spare, quiet=0) as dispatcher:
            dispatcher.start(memory)
            for model, changes in asks:
                await until(partial(are_there, dispatcher, spare))
                asked = job("My name is Ann", model=model, memory=memory, **changes)
                assert kind(await answer(dispatcher, asked)) == expected
                body = stage.api.calls[-1].body
                assert not asked.system or body["system"][-1]["text"] == asked.system
                parameters = asked.parameters
                further = 0 if parameters.schema is None else 1  # a tool of the CLI's, for that
                assert len(body.get("tools", ())) == len(parameters.tools) + further
    spares, new = halves(stage)
    assert spares == new


@by_login
async def test_what_the_operator_has_set_is_not_the_clients_to_change(stage: Stage) -> None:
    """As where a process is started with it."""
    own = {**stage.profile.extra, "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "1234"}
    profile = replace(stage.profile, extra=own)
    for spare in (2, 0):
        async with serving(profile, live=min(spare, 1), spare=spare) as dispatcher:
            dispatcher.start()
            await until(partial(are_there, dispatcher, spare))
            turn = await answer(dispatcher, job("My name is Ann", parameters=BOTH))
            again = Parameters(max_tokens=77)
            turn = await answer(dispatcher, job("?", "resume", after=turn, parameters=again))
            await answer(dispatcher, job("Still?", "resume", after=turn, system="Other."))
    assert [call.body["max_tokens"] for call in stage.api.calls] == [1234] * 6


async def test_each_turn_may_have_others(stage: Stage) -> None:
    """As a program has them that puts the time into its prompt, and asks for what there is room."""
    async with serving(stage.profile, live=1) as dispatcher:
        first = turn = await answer(dispatcher, job("My name is Ann"))
        pid = only_child()
        for minute, changes in enumerate([*CHANGED.values(), *THOUGHTS, {}]):
            how = {"system": f"It is 12:0{minute}.", **changes}
            turn = await answer(dispatcher, job("Who am I?", "resume", after=turn, **how))
            assert (kind(turn), only_child()) == ("live", pid)
        assert turn.session_id == first.session_id
    assert stage.seen[:4] == ASKED
    turns = len(CHANGED) + len(THOUGHTS) + 2
    assert (len(stage.seen), len(stage.api.calls)) == (2 * turns - 1, turns)


@by_login
async def test_the_tools_of_the_turn_are_those_that_are_called(stage: Stage) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        first = await answer(dispatcher, job("Hi", parameters=Parameters(tools=(OTHER,))))
        stage.replies = [calling(use("toolu_1"))]
        only_look = Parameters(tools=(LOOK,))
        waits = await answer(dispatcher, job("Look", "resume", after=first, parameters=only_look))
        assert kind(waits) == "live"
        took = await answer(dispatcher, returning(waits, found("toolu_1"), parameters=only_look))
        assert kind(took) == "live"


@by_login
async def test_results_with_others_are_brought_in(stage: Stage) -> None:
    """In the middle of a turn the CLI keeps those it has."""
    async with serving(stage.profile, live=1) as dispatcher:
        stage.replies = [calling(use("toolu_1"))]
        waits = await answer(dispatcher, job("Look", parameters=BOTH))
        with pytest.raises(ToolsLost):
            other = Parameters(tools=BOTH.tools, max_tokens=77)
            await answer(dispatcher, returning(waits, found("toolu_1"), parameters=other))


def files_below(folder: Path) -> list[str]:
    return [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]


async def test_a_system_prompt_is_told_to_the_cli_and_to_nothing_else(
    stage: Stage, tmp_path: Path
) -> None:
    prompts = ["Prompt of a new one.", "Prompt of a live one.", "Prompt of a resumed one."]
    async with serving(stage.profile, live=1) as dispatcher:
        turn = await answer(dispatcher, job("Hi", system=prompts[0]))
        turn = await answer(dispatcher, job("Hi", "resume", after=turn, system=prompts[1]))
        seen = command_line(only_child())
    async with serving(stage.profile, live=1) as dispatcher:
        await answer(dispatcher, job("Hi", "resume", after=turn, system=prompts[2]))
        seen += command_line(only_child())
    seen += files_below(tmp_path)
    assert [call.body["system"][-1]["text"] for call in stage.api.calls] == prompts
    assert [text for text in seen if "Prompt of" in text] == []
    assert any("Hi" in text for text in seen)  # there was something to be found


async def test_a_system_prompt_is_not_taken_away_from_a_process(stage: Stage) -> None:
    async with serving(stage.profile, live=1) as dispatcher:
        await asked_in_turns(dispatcher, MODELS[0], [{"system": ""}], "new")
    assert len(stage.api.calls[-1].body["system"]) == (1 if stage.credentials == KEY else 2)


@by_login
async def test_a_cli_that_takes_none_is_started_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    async def refuses(cli: CliProcess, request: Mapping[str, Any]) -> None:
        asked.append(request)
        raise SettingRefused("The Claude CLI does not take it.")

    monkeypatch.setattr(CliProcess, "set", refuses)
    async with serving(stage.profile, live=1) as dispatcher:
        turn = await answer(dispatcher, job("My name is Ann"))
        for system in ("One", "Two"):
            turn = await answer(dispatcher, job("Who am I?", "resume", after=turn, system=system))
            assert kind(turn) == "new"
            assert stage.api.calls[-1].body["system"][-1]["text"] == system
    assert stage.seen[:4] == ASKED
    assert len(asked) == 1
    assert len([line for line in caplog.messages if "dispatch by live failed" in line]) == 1


@by_login
async def test_a_cli_that_only_takes_too_long_is_told_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine may have no time for it."""
    async with serving(stage.profile, live=1) as dispatcher:
        turn = await answer(dispatcher, job("My name is Ann"))
        with monkeypatch.context() as hurried:
            hurried.setattr("sessionbridge.claude.cli.process._LONGEST_SETTING", 0.0)
            turn = await answer(dispatcher, job("Who am I?", "resume", after=turn, system="One"))
        assert kind(turn) == "new"
        turn = await answer(dispatcher, job("Who am I?", "resume", after=turn, system="Two"))
        assert kind(turn) == "live"


def test_what_stays_is_not_told() -> None:
    same = Settings("m", "s", (LOOK,), "low", 5)
    assert list(requests(same, same, "m", "server")) == []


def test_only_what_is_other_is_told() -> None:
    def told(**changes: Any) -> list[str]:
        before = Settings("m", "s", (), "low", 5)
        after = replace(before, **changes)
        return [str(one["subtype"]) for one in requests(before, after, "m", "server")]

    assert told(system="t") == ["set_model"]
    assert told(effort="high", max_tokens=None) == ["apply_flag_settings"]
    assert told(tools=(LOOK,)) == ["mcp_set_servers"]
