"""With an API key the model is shown the client's words, and one line of the CLI's (real CLI).

Whole requests are compared here, and nothing is left out of them first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.pool.pool import Keep
from sessionbridge.cli.demo.scripted_api import Call, Reply
from sessionbridge.model import Message, Parameters, Tool
from tests.support.claude_cli import (
    KEY,
    LOGIN,
    USAGE,
    Stage,
    answer,
    blocks_of,
    isolated,
    job,
    profile,
    say,
    some,
    staged,
)
from tests.support.live_processes import serving
from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_rounds import IMAGE, LOOK, calling, found, text, use
from tests.support.whole_requests import BARE_STRUCTURED, IDENTITY, shown

MODELS = ["claude-sonnet-4-5", "sonnet", "default", "claude-haiku-4-5", "claude-opus-4-6"]
"""Of a name without notes, and of one with them, first."""


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path), KEY) as stage:
        yield stage


def assert_whole(
    call: Call, *said: Message, system: str = "Be brief.", tools: tuple[Any, ...] = ()
) -> None:
    body = call.body
    assert [block["text"] for block in body["system"]] == [IDENTITY, system]
    assert [_unmarked(tool) for tool in body["tools"]] == list(tools)
    told = [
        (message["role"], _unmarked(block))
        for message in body["messages"]
        for block in message["content"]
    ]
    assert told == blocks_of(*said)


def _unmarked(block: Mapping[str, Any]) -> dict[str, Any]:
    """How far something is cached is no word."""
    return {name: value for name, value in block.items() if name != "cache_control"}


@pytest.mark.parametrize("model", some(MODELS[:2], MODELS[2:]))
async def test_a_conversation(stage: Stage, model: str) -> None:
    """In a live process, in one that resumes it, and in a branch."""
    ann, asks = say("My name is Ann."), say("Who am I?")
    met, tells = say("Nice to meet you, Ann!", "assistant"), say("Your name is Ann.", "assistant")
    async with serving(stage.profile, live=1) as dispatcher:
        one = await answer(dispatcher, job(ann, model=model))
        assert_whole(stage.api.calls[-1], ann)
        two = await answer(dispatcher, job(asks, "resume", after=one, model=model))
        assert two.dispatched.process == "live"
        assert_whole(stage.api.calls[-1], ann, met, asks)
    three = await stage.answer(job(asks, "resume", after=two, model=model))
    assert_whole(stage.api.calls[-1], ann, met, asks, tells, asks)
    assert three.session_id == one.session_id
    branch = job(asks, "fork", after=three, entry=one.tip, model=model, system="Be kind.")
    await stage.answer(branch)
    assert_whole(stage.api.calls[-1], ann, met, asks, system="Be kind.")
    assert stage.api.others == []


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "sonnet"])
async def test_a_session_that_began_by_login_goes_on_without_its_notes(
    stage: Stage, model: str
) -> None:
    by_login = stage.extra | dict.fromkeys(KEY, "") | LOGIN
    one = await stage.answer(job("My name is Ann.", model=model), extra=by_login)
    assert "Primary working directory" in str(stage.api.calls[-1].body)
    await stage.answer(job("Who am I?", "resume", after=one, model=model))
    met = say("Nice to meet you, Ann!", "assistant")
    assert_whole(stage.api.calls[-1], say("My name is Ann."), met, say("Who am I?"))


TALK = (say("My name is Ann."), say("Well.", "assistant"))
CALL = Message("assistant", (text("I look."), use("toolu_1", at="it")))


BY_FILE, FED = 0, 100


@pytest.mark.parametrize(
    "model, long",
    some(
        [(MODELS[0], BY_FILE), (MODELS[1], FED), (MODELS[2], BY_FILE)],
        [(MODELS[1], BY_FILE), (MODELS[3], FED), (MODELS[4], BY_FILE)],
    ),
)
async def test_an_import(stage: Stage, model: str, long: int) -> None:
    stage.keep = Keep(long=long)
    await stage.answer(job("Who am I?", "import", feed=TALK, model=model))
    assert_whole(stage.api.calls[-1], *TALK, say("Who am I?"))
    feed, result = (*TALK, say("Look"), CALL), Message("user", (found("toolu_1", "sunny"),))
    offered = Parameters(tools=(LOOK,))
    await stage.answer(job(result, "import", feed=feed, model=model, parameters=offered))
    assert_whole(stage.api.calls[-1], *feed, result, tools=(told(LOOK),))


def told(tool: Tool, **changes: Any) -> dict[str, Any]:
    whole = {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
    return {**whole, **changes}


@pytest.mark.parametrize("model", some(MODELS[1:2], MODELS[:1]))
async def test_tools_of_the_names_that_the_clis_have(stage: Stage, model: str) -> None:
    names = ("Agent", "Bash", "Skill", "Task")
    tools = tuple(Tool(name, f"The client's {name}.", LOOK.schema) for name in names)
    call, result = use("toolu_1", "Bash", at="it"), Message("user", (found("toolu_1", "here"),))
    stage.replies = [calling(text("I look."), call), Reply(("Done.",), USAGE)]
    parameters = Parameters(tools=tools)
    whole = (say("Hi"), Message("assistant", (text("I look."), call)), result)
    await stage.answer(job("Hi", model=model, parameters=parameters))
    assert_whole(stage.api.calls[-1], whole[0], tools=tuple(map(told, tools)))
    await stage.answer(job(result, "import", feed=whole[:2], model=model, parameters=parameters))
    assert_whole(stage.api.calls[-1], *whole, tools=tuple(map(told, tools)))


CUT_SHORT = (
    "One.\n\nTwo:\n  - three\n\n\tfour.",
    " One.",
    "One.\n",
    "One.\n\n",
    "\r\n\r\nOne",
    "One\n\n\n",
)
LEFT_ALONE = ("", "One.", "One.\nTwo.", "\n\nOne.\n\nTwo.", " \n\nOne")


async def test_a_description_is_told_whole(stage: Stage) -> None:
    """Behind an empty paragraph where it would be its first alone, and without the space around
    it."""
    described = [*CUT_SHORT, *LEFT_ALONE]
    tools = [Tool(f"look_{n:02}", words, LOOK.schema) for n, words in enumerate(described)]
    await stage.answer(job("Hi", parameters=Parameters(tools=tuple(tools))))
    changed = [told(tool, description=f"\n\n{tool.description}") for tool in tools]
    expected = *changed[: len(CUT_SHORT)], *map(told, tools[len(CUT_SHORT) :])
    assert_whole(stage.api.calls[-1], say("Hi"), tools=expected)


async def test_a_rule_that_the_cli_drops_stands_in_the_description(stage: Stage) -> None:
    tool = Tool("look", "One.\n\nTwo.", {"oneOf": [LOOK.schema]})
    await stage.answer(job("Hi", parameters=Parameters(tools=(tool,))))
    (offered,) = stage.api.calls[-1].body["tools"]
    rule = "The input must also match this JSON Schema:"
    assert offered["description"].startswith(f"One. Two. {rule} {{")


async def test_a_structured_answer(stage: Stage) -> None:
    schema = {"type": "object", "properties": {"who": {"type": "string"}}}
    stage.replies = [calling(use("toolu_1", "StructuredOutput", who="Ann"))]
    got = await stage.answer(job("Who?", parameters=Parameters(schema=schema)))
    assert got.text == '{"who": "Ann"}'
    tool = Tool("StructuredOutput", BARE_STRUCTURED, schema)
    assert_whole(stage.api.calls[0], say("Who?"), tools=(told(tool),))


@pytest.mark.parametrize("model", some(MODELS[:1], MODELS[1:2]))
async def test_an_image(stage: Stage, model: str) -> None:
    ask = Message("user", (IMAGE, text("What is it?")))
    one = await stage.answer(job(ask, model=model))
    assert_whole(stage.api.calls[-1], ask)
    await stage.answer(job("Sure?", "resume", after=one, model=model))
    assert_whole(stage.api.calls[-1], ask, say(one.text, "assistant"), say("Sure?"))


TOKEN = {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-dummy"}


@pytest.mark.parametrize(
    ("extra", "sent"),
    [
        (KEY, {"x-api-key": "sk-ant-dummy"}),
        (KEY | LOGIN, {"x-api-key": "sk-ant-dummy", "authorization": "Bearer dummy"}),
        (KEY | TOKEN, {"x-api-key": "sk-ant-dummy"}),
        (LOGIN, {"authorization": "Bearer dummy"}),
        (TOKEN, {"authorization": f"Bearer {TOKEN['CLAUDE_CODE_OAUTH_TOKEN']}"}),
    ],
    ids=["key", "key and token", "key and login", "token", "login"],
)
async def test_only_a_key_makes_it_bare(
    stage: Stage, extra: Mapping[str, str], sent: Mapping[str, str]
) -> None:
    blank = dict.fromkeys((*KEY, *LOGIN, *TOKEN), "")
    await stage.answer(job("Hi"), extra={**stage.extra, **blank, **extra})
    (call,) = stage.api.calls
    headers = {name.lower(): value for name, value in call.headers.items()}
    told = {name: headers[name] for name in ("x-api-key", "authorization") if name in headers}
    assert told == sent
    assert ("Primary working directory" in str(call.body)) == (extra.keys().isdisjoint(KEY))
    assert shown(call).messages[0][0] == "user"


def test_a_key_of_the_shell_that_is_not_passed_on_makes_nothing_bare(tmp_path: Path) -> None:
    assert not profile(tmp_path, KEY).bare
    assert not replace(profile(tmp_path, {}), extra={"ANTHROPIC_API_KEY": ""}).bare


def test_through_the_proxy(tmp_path: Path, api: ScriptedServer) -> None:
    entries = [f"{name}={value}" for name, value in KEY.items()]
    options = {"claude_env": [*entries, f"ANTHROPIC_BASE_URL={api.url}"]}
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        for said in ("My name is Bea. (bare)", "Who am I? (bare)"):
            _ask(proxy, said)
    one, two = api.heard("(bare)")
    ann, met = say("My name is Bea. (bare)"), say("Nice to meet you, Bea!", "assistant")
    assert_whole(one, ann, system="You help.")
    assert_whole(two, ann, met, say("Who am I? (bare)"), system="You help.")


def _ask(proxy: Proxy, said: str) -> None:
    client = proxy.anthropic({"X-GoClaw-User-Id": "bare"})
    message: Any = {"role": "user", "content": said}
    client.messages.create(model="sonnet", max_tokens=99, messages=[message], system="You help.")
