"""The real Claude CLI, end to end, against a scripted API on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sessionbridge.claude.cli.child_mark import CHILD_HEADER, child_secret
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.errors import SessionLost
from sessionbridge.model import Block, TextDelta
from tests.support.claude_cli import (
    MODEL,
    USAGE,
    Answer,
    Stage,
    answer,
    children,
    command_line,
    environment_of,
    isolated,
    job,
    say,
    staged,
    until,
)
from tests.support.whole_requests import conversation


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        yield stage
    assert children() == []


class Held:
    """An answer that waits in its middle, so that the process can be looked at."""

    def __init__(self, *words: str) -> None:
        self.go_on = asyncio.Event()
        self.reply = Reply(self._pieces(words), USAGE)

    async def _pieces(self, words: tuple[str, ...]) -> AsyncIterator[str]:
        yield words[0]
        await self.go_on.wait()
        for word in words[1:]:
            yield word


PROMPT = "-p --dangerously-skip-permissions"
SYSTEM = "You are private. " * 20_000


@pytest.mark.acceptance(7, 11, 16, 17, 20)
async def test_what_the_process_shows_of_itself(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its command line has the session and no words; its environment has nothing of ours."""
    secrets = {
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "https_proxy": "http://127.0.0.1:1",
        "ANTHROPIC_API_KEY": "theirs",
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "DATABASE_PASSWORD": "hunter2",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    first = job(PROMPT + "x" * 300_000, system=SYSTEM)
    turns: list[tuple[Answer, list[str]]] = []
    for number in (1, 2):
        held = Held("Hello", " there")
        stage.replies = [held.reply]
        again = first if number == 1 else job(PROMPT, "resume", after=turns[0][0], system=SYSTEM)
        running = asyncio.create_task(stage.answer(again))
        await until(partial(stage.was_asked, number))
        (pid,) = children()
        words = command_line(pid)
        environment = environment_of(pid)
        held.go_on.set()
        turns.append((await running, words))

        secret = child_secret(stage.profile.home)
        joined = " ".join(words)
        assert secret not in joined
        assert "dangerously" not in joined and "private" not in joined
        assert joined.count("stream-json") == 2
        assert [environment.get(name, "") for name in secrets] == [""] * len(secrets)
        assert environment["HOME"] == str(tmp_path / "user")
        assert environment["PATH"]
        assert environment["ANTHROPIC_CUSTOM_HEADERS"] == f"{CHILD_HEADER}: {secret}"

    (one, fresh), (two, resumed) = turns
    starts = ("--resume", "--continue", "--fork-session")
    assert not [word for word in fresh if word.startswith(starts)]
    assert f"--session-id={one.session_id}" in fresh
    assert f"--resume={one.session_id}" in resumed
    assert f"--resume-session-at={one.tip}" in resumed
    assert "--fork-session" not in resumed
    assert two.session_id == one.session_id
    assert stage.seen == [
        ("user", PROMPT + "x" * 300_000),
        ("assistant", "Hello there"),
        ("user", PROMPT),
    ]
    headers = {name.lower(): value for name, value in stage.api.calls[-1].headers.items()}
    assert headers[CHILD_HEADER] == secret
    assert headers["x-claude-code-session-id"] == one.session_id
    assert stage.api.calls[-1].body["system"][-1]["text"] == SYSTEM
    assert stage.api.others == []


@pytest.mark.acceptance(14, 17, 22)
async def test_the_model_sees_exactly_the_conversation(stage: Stage) -> None:
    one = await stage.answer(job("My name is Ann"))
    two = await stage.answer(job("Who am I?", "resume", after=one))
    assert two.text == "Your name is Ann."
    told = [("user", "My name is Ann"), ("assistant", "Nice to meet you, Ann!")]
    asked = [*told, ("user", "Who am I?"), ("assistant", "Your name is Ann.")]
    assert stage.seen == asked[:3]

    feed = (say("@/etc/hostname"), say("/cost", "assistant"), say("-x"), say("ok", "assistant"))
    fed = [(message.role, message.blocks[0]["text"]) for message in feed]
    branch = await stage.answer(job("And now?", "fork", after=one, feed=feed))
    assert stage.seen == [*told, *fed, ("user", "And now?")]
    assert branch.session_id != one.session_id
    assert len(branch.finished.entries) == 6

    middle = branch.finished.entries[1]
    await stage.answer(job("Again?", "fork", after=branch, entry=middle))
    assert stage.seen == [*told, *fed[:2], ("user", "Again?")]

    three = await stage.answer(job("Still?", "resume", after=two))
    assert stage.seen == [*asked, ("user", "Still?")]

    for turn in (one, two, branch, three):
        usage = turn.finished.usage
        own = (usage.input_tokens * 3 + usage.output_tokens * 15) / 1e6
        cache = usage.cache_creation_input_tokens * 3.75 + usage.cache_read_input_tokens * 0.3
        assert turn.cost == pytest.approx(own + cache / 1e6)


@pytest.mark.parametrize("text", ["@/etc/hostname", "/cost", "--help", "a\r\n\tb\x00  "])
async def test_a_prompt_reaches_the_model_word_for_word(stage: Stage, text: str) -> None:
    stage.replies = [Reply(("Well",), USAGE)]
    await stage.answer(job(text, memory="none", system="half a \ud800 pair"))
    said = [block.get("text") for block in stage.api.calls[-1].body["messages"][0]["content"]]
    assert said[-1] == text


async def test_memory_none_leaves_no_transcript(stage: Stage, tmp_path: Path) -> None:
    assert (await stage.answer(job("My name is Ann", memory="none", model="default"))).text
    assert list((tmp_path / "config").rglob("*.jsonl")) == []
    assert stage.api.calls[-1].body["model"].startswith("claude-")
    assert stage.api.calls[-1].body["model"] != MODEL


@pytest.mark.acceptance(13, 21)
async def test_continue_goes_on_with_the_last_session_of_its_own(stage: Stage) -> None:
    first = await stage.answer(job("My name is Bob", memory="continue"))
    await stage.answer(job("My name is Ann"))
    second = await stage.answer(job("Who am I?", memory="continue"))
    assert second.text == "Your name is Bob."
    assert second.session_id == first.session_id
    assert 0 < second.cost < 2 * first.cost


async def test_leaving_in_mid_answer_forgets_that_turn_only(stage: Stage) -> None:
    one = await stage.answer(job("My name is Ann"))
    stage.replies = [Held("Once upon", " a time").reply]
    deltas = stage.dispatcher().run(job("Tell me a story", "resume", after=one))
    async with aclosing(deltas):
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                break
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert children() == []

    two = await stage.answer(job("Who am I?", "resume", after=one))
    assert two.text == "Your name is Ann."
    assert stage.seen == [
        ("user", "My name is Ann"),
        ("assistant", "Nice to meet you, Ann!"),
        ("user", "Who am I?"),
    ]
    assert two.session_id == one.session_id
    assert 0 < two.cost < 2 * one.cost


@pytest.mark.parametrize("earlier", [0, 12], ids=["fresh", "imported by file"])
async def test_a_new_session_that_came_to_nothing_leaves_no_transcript(
    stage: Stage, tmp_path: Path, earlier: int
) -> None:
    feed = tuple(say(f"word {n}", ("user", "assistant")[n % 2]) for n in range(earlier))
    stage.replies = [Held("Once upon", " a time").reply]
    start = job("Tell me a story")
    start = replace(start, plan=replace(start.plan, feed=feed))
    async with aclosing(stage.dispatcher().run(start)) as deltas:
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                break
    assert transcripts(tmp_path, start.session_id) == []
    whole = await stage.answer(replace(start, session_id=str(uuid4())))
    assert len(transcripts(tmp_path, whole.session_id)) == 1


def transcripts(tmp_path: Path, session_id: str) -> list[Path]:
    return list(tmp_path.rglob(f"{session_id}.jsonl"))


async def test_blocks_pass_as_they_are(stage: Stage) -> None:
    use: Block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "it"}}
    content = "It is " + "big " * 9_000
    found: Block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
    feed = (say("Look"), replace(say("", "assistant"), blocks=(use,)))
    ask = replace(say(""), blocks=(found, {"type": "text", "text": "Well?"}))
    await stage.answer(job(ask, feed=feed))
    sent: list[Any] = [
        block
        for message in stage.api.calls[-1].body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
    ]
    assert content in json.dumps(sent)
    assert [block["input"] for block in sent if block["type"] == "tool_use"] == [{"at": "it"}]


async def test_a_session_that_was_discarded_is_lost_without_a_start(
    stage: Stage, tmp_path: Path
) -> None:
    one = await stage.answer(job("My name is Ann"))
    kept = await stage.answer(job("My name is Bob"))
    dispatcher = stage.dispatcher(cli=tmp_path / "is not needed")
    for _ in range(2):  # what is not there is none to delete
        await dispatcher.discard(one.session_id)
    assert [path.stem for path in (tmp_path / "config").rglob("*.jsonl")] == [kept.session_id]
    for lost in (job("Hi", "resume", after=one), job("Hi", "fork", after=kept, entry=str(uuid4()))):
        with pytest.raises(SessionLost):
            await answer(dispatcher, lost)
    assert (await stage.answer(job("Who am I?", "resume", after=kept))).text == "Your name is Bob."


async def test_two_sessions_at_once_do_not_meet(stage: Stage) -> None:
    names = ("Ann", "Bob")
    dispatcher = stage.dispatcher()
    told = [answer(dispatcher, job(f"My name is {name}")) for name in names]
    assert [got.text for got in await asyncio.gather(*told)] == [
        f"Nice to meet you, {name}!" for name in names
    ]
    assert sorted(conversation(call) for call in stage.api.calls) == [
        [("user", f"My name is {name}")] for name in names
    ]


@pytest.mark.acceptance(7)
def test_the_command_shown_to_people_is_the_one_it_equals() -> None:
    fresh = job("Hi", session_id="U")
    start = f"claude --print --model {MODEL}"
    assert fresh.command == f"{start} --session-id U"
    assert replace(fresh, memory="none").command == start
    assert replace(fresh, memory="continue").command == f"{start} --continue"
    assert replace(fresh, model="a; rm").command == (
        "claude --print --model 'a; rm' --session-id U"
    )
