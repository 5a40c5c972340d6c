"""A conversation that grew too long, kept by the bridge or by the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sessionbridge.cli.demo.scripted_api import Body, Failure, Reply, ScriptedApi, conversation
from sessionbridge.errors import PromptTooLong, SessionLost
from sessionbridge.model import Usage
from tests.support.claude_cli import (
    USAGE,
    Stage,
    answer,
    blocks_of,
    children,
    isolated,
    job,
    say,
    staged,
    until,
)
from tests.support.live_processes import kind, serving

LIMIT = 30_000
TOO_LONG = Failure(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000")
LONG = tuple(
    message
    for number in range(8)
    for message in (
        say(f"{number} " + "word " * 1_000),
        say(f"{number} " + "reply " * 100, "assistant"),
    )
)


async def with_a_limit(body: Body) -> Reply | Failure:
    if len(json.dumps(body["messages"])) > LIMIT:
        return TOO_LONG
    asked = conversation(body)[-1][1]
    return Reply(("the ", "answer") if asked.startswith("Who") else ("a summary",), USAGE)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        await stage.api.close()
        stage.api = ScriptedApi(with_a_limit)
        stage.extra = stage.extra | {"ANTHROPIC_BASE_URL": stage.api.url}
        yield stage
    assert children() == []


async def test_a_conversation_kept_here_is_compacted(stage: Stage) -> None:
    """The calls the CLI makes to sum it up are not streamed: none of it is in the answer. Their
    tokens are missing from the usage, and their cost is in the cost."""
    got = await stage.answer(job("Who am I?", feed=LONG, compaction=True), extra=stage.extra)
    assert got.text == "the answer"
    assert got.finished.compacted
    assert got.finished.usage == Usage(3, 5, 7, 11)
    answered = [call for call in stage.api.calls if isinstance(call.reply, Reply)]
    assert len(answered) > 1
    one = (3 * 3 + 5 * 15 + 7 * 3.75 + 11 * 0.3) / 1e6
    assert got.cost == pytest.approx(one * len(answered))
    shown = stage.blocks
    assert len(shown) < len(LONG)
    assert "a summary" in str(stage.api.calls[-1].body["messages"][0])

    after = job("Who now?", "resume", after=got, compaction=True)
    two = await stage.answer(after, extra=stage.extra)
    assert stage.blocks == [*shown, *blocks_of(say(got.text, "assistant"), say("Who now?"))]
    assert not two.finished.compacted
    assert two.cost == pytest.approx(one)

    before = got.finished.entries[len(LONG) - 1]  # a retry goes on from what was compacted
    await stage.answer(job("Who, again?", "fork", after=got, entry=before), extra=stage.extra)
    assert stage.blocks == [*shown[:-1], *blocks_of(say("Who, again?"))]

    summed_up = job("Who?", "fork", after=got, entry=got.finished.entries[1])
    with pytest.raises(SessionLost):
        await stage.answer(summed_up, extra=stage.extra)


async def test_a_spare_is_told_who_is_to_shorten(stage: Stage) -> None:
    profile = replace(stage.profile, extra=stage.extra)
    async with serving(profile, spare=2) as dispatcher:
        dispatcher.start()
        await until(lambda: dispatcher.processes == (0, 2))
        kept_here = await answer(dispatcher, job("Who am I?", feed=LONG, compaction=True))
        assert (kind(kept_here), kept_here.finished.compacted) == ("spare", True)
        calls = len(stage.api.calls)
        with pytest.raises(PromptTooLong):
            await answer(dispatcher, job("Who am I?", feed=LONG))
        assert len(stage.api.calls) == calls + 1


async def test_a_conversation_the_client_keeps_is_the_clients_to_shorten(stage: Stage) -> None:
    with pytest.raises(PromptTooLong):
        await stage.answer(job("Who am I?", feed=LONG), extra=stage.extra)
    assert len(stage.api.calls) == 1
