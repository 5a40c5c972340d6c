"""What the real Claude CLI makes of an API that fails, and what we make of that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sessionbridge.cli.demo.scripted_api import Failure, Reply
from sessionbridge.errors import ApiFailed, BridgeError, NotLoggedIn, PromptTooLong, SessionLost
from sessionbridge.model import TextDelta, Usage
from tests.support.claude_cli import MODEL, USAGE, Stage, children, isolated, job, staged


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as stage:
        yield stage
    assert children() == []


async def breaking(*words: str) -> AsyncIterator[str]:
    for word in words:
        yield word
    await asyncio.sleep(0.05)
    raise ConnectionError("the scripted stream breaks")


FAILURES = [
    (401, "authentication_error", "invalid x-api-key", ApiFailed),
    (400, "invalid_request_error", "messages: no", ApiFailed),
    (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000", PromptTooLong),
    (413, "request_too_large", "too large", ApiFailed),
    (500, "api_error", "down", ApiFailed),
    (529, "overloaded_error", "overloaded", ApiFailed),
]


@pytest.mark.parametrize(("status", "kind", "message", "expected"), FAILURES)
async def test_an_api_error_keeps_its_status(
    stage: Stage, status: int, kind: str, message: str, expected: type[BridgeError]
) -> None:
    stage.replies = [Failure(status, kind, message)] * 4
    with pytest.raises(BridgeError) as caught:
        await stage.answer(job("Hi"))
    assert type(caught.value) is expected
    assert caught.value.status == status


async def test_a_rate_limit_says_when_to_come_back(stage: Stage) -> None:
    limit = Failure(429, "rate_limit_error", "slow down", {"retry-after": "1"})
    stage.replies = [limit, limit]
    with pytest.raises(ApiFailed) as caught:
        await stage.answer(job("Hi"), retries=1)
    assert caught.value.status == 429
    assert caught.value.retry_after in (1, 2)
    assert len(stage.api.calls) == 2


async def test_without_credentials_it_says_how_to_log_in(stage: Stage) -> None:
    with pytest.raises(NotLoggedIn, match="/login"):
        await stage.answer(job("Hi"), extra=stage.extra | {"ANTHROPIC_AUTH_TOKEN": ""})
    assert stage.api.calls == []


async def test_an_unreachable_api_is_a_bad_gateway(stage: Stage) -> None:
    nowhere = stage.extra | {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    with pytest.raises(ApiFailed, match="could not be reached") as caught:
        await stage.answer(job("Hi"), extra=nowhere)
    assert caught.value.status == 502


async def test_a_prompt_beyond_all_measure_is_the_clients_to_shorten(stage: Stage) -> None:
    with pytest.raises(PromptTooLong):
        await stage.answer(job("x" * 20_000_000))
    assert stage.api.calls == []


async def test_a_refusal_is_told_as_it_was_said(stage: Stage) -> None:
    """The CLI would ask again with a prompt of its own, and the client get both answers."""
    stage.replies = [Reply(("I ",), USAGE, "refusal")]
    refused = await stage.answer(job("Hi"))
    assert (refused.text, refused.finished.stop_reason) == ("I ", "refusal")
    assert refused.finished.usage.output_tokens == USAGE.output_tokens
    assert len(stage.api.calls) == 1


async def test_a_lost_session_or_entry_is_known_as_lost(stage: Stage) -> None:
    one = await stage.answer(job("Hi"))
    gone = job("Hi", "resume", after=one, entry=str(uuid4()))
    assert gone.plan.base is not None
    away = replace(gone.plan, base=replace(gone.plan.base, session_id=str(uuid4())))
    for lost in (gone, replace(gone, plan=away)):
        with pytest.raises(SessionLost):
            await stage.answer(lost)
    assert len(stage.api.calls) == 1


def told(kind: str, **event: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **event})}\n\n"


BEGUN = told(
    "message_start",
    message={"id": "msg_1", "model": MODEL, "role": "assistant", "usage": {"input_tokens": 3}},
)
SAID = told("content_block_start", index=0, content_block={"type": "text", "text": ""}) + told(
    "content_block_delta", index=0, delta={"type": "text_delta", "text": "Half"}
)


@asynccontextmanager
async def streaming(events: str) -> AsyncIterator[str]:
    """The URL of an API that answers each request with these."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        writer.write((head + events).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("before", ["", BEGUN, BEGUN + SAID], ids=["first", "begun", "said"])
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("api_error", 502),
        ("invalid_request_error", 502),  # the CLI tells of these two no more than their words
    ],
)
async def test_an_error_in_the_stream_keeps_its_status(
    stage: Stage, kind: str, status: int, before: str
) -> None:
    events = before + told("error", error={"type": kind, "message": "no, says gw.internal:4000"})
    async with streaming(events) as url:
        with pytest.raises(ApiFailed) as caught:
            await stage.answer(job("Hi"), extra=stage.extra | {"ANTHROPIC_BASE_URL": url})
    assert caught.value.status == status
    assert "API Error: no, says [address]" in caught.value.message


async def test_an_answer_that_is_none_is_told_as_that(stage: Stage) -> None:
    async with streaming("<html>Please log in to the network</html>") as url:
        with pytest.raises(
            ApiFailed, match=r"gave no answer: API Error: .*; try again\."
        ) as caught:
            await stage.answer(job("Hi"), extra=stage.extra | {"ANTHROPIC_BASE_URL": url})
    assert caught.value.status == 502


async def test_a_stream_that_breaks_is_never_answered_twice(stage: Stage) -> None:
    stage.replies = [Reply(breaking(), USAGE), Reply(("Whole",), USAGE)]
    whole = await stage.answer(job("Hi"), retries=1)
    assert whole.text == "Whole"
    assert whole.finished.usage == Usage(6, 6, 14, 22)

    stage.replies = [Reply(breaking("Half an ", "ans"), USAGE), Reply(("Whole",), USAGE)]
    heard = []
    with pytest.raises(ApiFailed, match="broke off"):
        async with aclosing(stage.dispatcher(retries=1).run(job("Hi"))) as deltas:
            async for delta in deltas:
                heard += [delta.text] if isinstance(delta, TextDelta) else []
    assert "".join(heard) == "Half an ans"
