"""Conversations with images by URL, before the real Claude CLI: the model sees bytes, and what is
in a transcript is not fetched again. The server is on loopback, which only these tests allow."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.claude.web_content import WebContent
from sessionbridge.cli.demo.scripted_api import Reply
from sessionbridge.errors import BadRequest
from sessionbridge.model import Block, Message
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.admission import Admission
from sessionbridge.turns.background import Background
from sessionbridge.turns.bridge import Bridge
from sessionbridge.turns.worker import Worker
from tests.claude.test_claude_web_content import BASE64, Web, at_first, by_url, response, serving
from tests.support.bridge_fixtures import CLIENT_HELD, SETTINGS, Answer, ask
from tests.support.claude_cli import (
    USAGE,
    Stage,
    answer,
    children,
    fake_cli,
    isolated,
    job,
    profile,
    say,
    staged,
    until,
)
from tests.support.proxy import Proxy
from tests.support.scripted_api import ScriptedServer

LOOK: dict[str, Any] = {"name": "look", "input_schema": {"type": "object"}}


class Chat:
    """A client that resends its conversation, and the bridge it speaks to. `last` is what became
    of its newest turn."""

    def __init__(self, stage: Stage, store: StoreThread, keep: Keep) -> None:
        self._stage, self._store = stage, store
        self._settings = SETTINGS.model_copy(update={"home": stage.profile.home})
        self.messages: list[Any] = []
        self.last: Answer
        self.start(keep)

    def start(self, keep: Keep) -> None:
        self.dispatcher = ClaudeDispatcher(self._stage.profile, keep, web=WebContent(at_first))
        locks, admission = Home(self._settings.home).locks(), Admission(10, 10)
        self._bridge = Bridge(
            self._settings, self._store, self.dispatcher, locks, admission, Worker(), Background()
        )

    async def say(self, *content: Any, **fields: Any) -> str:
        self.messages.append({"role": "user", "content": list(content)})
        request = {"model": "sonnet", "max_tokens": 99, "messages": self.messages, **fields}
        self.last = await ask(self._bridge, json.dumps(request).encode(), CLIENT_HELD)
        assert self.last.status == 200, self.last.body
        self.messages.append({"role": "assistant", "content": self.last.json["content"]})
        said = self.last.json["content"]
        return "".join(block["text"] for block in said if block["type"] == "text")

    @property
    def told(self) -> tuple[str, str]:
        outcome = self.last.exchange.outcome
        assert outcome.plan is not None
        return outcome.plan.reason, outcome.process or ""

    def shown(self) -> list[Any]:
        """What the model saw of images, wherever they stood."""
        blocks = [block for _, block in self._stage.blocks]
        inner = [part for block in blocks for part in _parts(block)]
        return [block["source"] for block in inner if block["type"] == "image"]


def _parts(block: dict[str, Any]) -> list[dict[str, Any]]:
    content = block.get("content")
    return content if block["type"] == "tool_result" and isinstance(content, list) else [block]


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving() as web:
        web.serve("/a.png", response())
        web.serve("/b.png", response())
        yield web


@asynccontextmanager
async def chatting(stage: Stage, keep: Keep) -> AsyncIterator[Chat]:
    store = StoreThread(Home(stage.profile.home))
    chat = Chat(stage, store, keep)
    try:
        yield chat
    finally:
        await chat.dispatcher.close()
        store.close()


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        yield stage
    assert children() == []


async def test_the_model_sees_the_bytes_and_they_are_fetched_once(stage: Stage, web: Web) -> None:
    async with chatting(stage, Keep(live=1)) as chat:
        image = by_url(web.url("/a.png?token=1"))
        await chat.say(text("My name is Ann."), image)
        assert (chat.told, chat.shown()) == (("first_turn", "new"), [BASE64])
        assert await chat.say(text("Who am I?")) == "Your name is Ann."
        assert (chat.told, chat.shown()) == (("continued", "live"), [BASE64])

        await chat.dispatcher.close()
        chat.start(Keep())
        assert await chat.say(text("Who am I now?")) == "Your name is Ann."
        assert (chat.told, chat.shown()) == (("continued", "new"), [BASE64])
    assert len(web.heads) == 1


@pytest.mark.parametrize("long", [0, 1_000], ids=["file", "fed"])
async def test_a_conversation_brought_in_is_fetched_once(
    stage: Stage, web: Web, long: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with chatting(stage, Keep(long=long)) as chat:
        image = by_url(web.url("/a.png"))
        chat.messages = [
            {"role": "user", "content": [text("My name is Ann."), image]},
            {"role": "assistant", "content": "Nice to meet you, Ann!"},
            {"role": "user", "content": [image, text("And this?")]},
            {"role": "assistant", "content": "The same."},
        ]
        assert await chat.say(by_url(web.url("/b.png")), text("Who am I?")) == "Your name is Ann."
        assert (chat.told, chat.shown()) == (("imported", "new"), [BASE64] * 3)
        assert await chat.say(text("Who am I?")) == "Your name is Ann."
        assert (chat.told, chat.shown()) == (("continued", "new"), [BASE64] * 3)
    assert len(web.heads) == 2
    assert "dispatch by" not in caplog.text


async def test_a_branch_is_not_fed_to_a_spare_what_its_transcript_has(
    stage: Stage, web: Web
) -> None:
    async with chatting(stage, Keep(live=1, spare=1)) as chat:
        await chat.say(text("My name is Ann."), by_url(web.url("/a.png")))
        await chat.say(text("Who am I?"))
        await until(lambda: len(children()) == 2, 20)  # the spare, for the next conversation
        del chat.messages[-2:]
        assert await chat.say(text("And who is it?")) == "Your name is Ann."
        assert (chat.told, chat.shown()) == (("branched", "new"), [BASE64])
    assert len(web.heads) == 1


async def test_results_of_tools_may_hold_images_by_url(stage: Stage, web: Web) -> None:
    async with chatting(stage, Keep(live=1)) as chat:
        call: Block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
        stage.replies = [Reply((), USAGE, content=(call,))]
        await chat.say(text("My name is Ann."), tools=[LOOK])
        content = [text("see"), by_url(web.url("/a.png"))]
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
        await chat.say(result, tools=[LOOK])
        assert (chat.told, chat.shown()) == (("tools_imported", "new"), [BASE64])
        assert await chat.say(text("Who am I?"), tools=[LOOK]) == "Your name is Ann."
        assert (chat.told, chat.shown()) == (("continued", "live"), [BASE64])
    assert len(web.heads) == 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ClaudeDispatcher]:
    plain = profile(tmp_path, isolated(monkeypatch, tmp_path), cli=fake_cli(tmp_path))
    refusing = replace(plain, extra={"FAKE_CLI": "refuses_resumes"})
    yield ClaudeDispatcher(refusing, Keep(long=1), web=WebContent(at_first))
    assert children() == []


async def test_a_second_way_does_not_fetch_again(
    fake: ClaudeDispatcher, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    feed = (Message("user", (by_url(web.url("/a.png")),)), say("Nice", "assistant"))
    got = await answer(fake, job("Well?", "import", feed=feed))
    assert "dispatch by file failed, now by fed" in caplog.text
    assert got.dispatched.plan.feed == feed, "told in other words than the client's"
    assert len(web.heads) == 1


async def test_what_cannot_be_fetched_costs_no_process(fake: ClaudeDispatcher, web: Web) -> None:
    wanted = job(Message("user", (by_url(web.url("/none.png")),)))
    with pytest.raises(BadRequest, match="status 404"):
        await answer(fake, wanted)
    assert "cli_version" not in fake.location, "a CLI was started"
    assert len(web.heads) == 1


async def test_a_private_address_is_refused_in_the_words_of_each_api(
    proxy: Proxy, api: ScriptedServer, web: Web
) -> None:
    url = web.url("/a.png?token=secret")
    talk: Any = [{"role": "user", "content": [text("Look (private)"), by_url(url)]}]
    with pytest.raises(anthropic.BadRequestError) as refused:
        client = proxy.anthropic({"X-OpenClaw-Session": "private-messages"})
        client.messages.create(model="sonnet", max_tokens=9, messages=talk)
    why = (
        "The image at 127.0.0.1 could not be fetched: it is not at a public address. "
        "Give the URL of another, or send its bytes as base64."
    )
    error: Any = refused.value.body
    assert error["error"] == {"type": "invalid_request_error", "message": why}

    parts = [text("Look (private)"), {"type": "image_url", "image_url": {"url": url}}]
    talk = [{"role": "user", "content": parts}]
    with pytest.raises(openai.BadRequestError) as refused_too:
        chat = proxy.openai({"X-OpenClaw-Session": "private-chat"})
        chat.chat.completions.create(model="gpt-4o", messages=talk)
    told: Any = refused_too.value.body
    assert (told["type"], told["message"]) == ("invalid_request_error", why)
    assert web.heads == []
    assert api.heard("(private)") == []
    assert "secret" not in proxy.log
