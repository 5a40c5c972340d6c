"""A small Messages API on loopback that answers from a script: for the demo and for tests.

It speaks enough of https://docs.anthropic.com/en/api/messages for the real Claude CLI, so that the
whole bridge can be seen at work without an account. What it counts as tokens is made up, but it
behaves as the real API does: what a session has said before is read from the cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the API reports them."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An error instead of an answer."""

    status: int
    type: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: pieces of text as they are to be streamed, and what it costs."""

    pieces: AsyncIterator[str] | tuple[str, ...]
    usage: Usage
    stop_reason: str = "end_turn"


Script = Callable[[Body], Awaitable[Reply | Failure]]


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was made, and what it was answered with."""

    headers: Mapping[str, str]
    body: Body
    reply: Reply | Failure


class ScriptedApi:
    """Listens on a free loopback port as soon as it is made; `calls` keeps what was asked."""

    def __init__(self, script: Script) -> None:
        self.calls: list[Call] = []
        self.others: list[tuple[str, str]] = []
        self._script = script
        self._ids = count(1)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server = HTTPServer(web.Application([(".*", _Handler, {"api": self})]))
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def answer(self, headers: Mapping[str, str], body: Body) -> Reply | Failure:
        reply = await self._script(body)
        self.calls.append(Call(headers, body, reply))
        return reply

    def next_id(self) -> str:
        return f"msg_scripted{next(self._ids):06d}"

    async def close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()


class _Handler(web.RequestHandler):
    def initialize(self, api: ScriptedApi) -> None:
        self._api = api

    async def prepare(self) -> None:
        if self.request.method != "POST" or self.request.path != "/v1/messages":
            self._api.others.append((self.request.method or "", self.request.path))
            self._fail(Failure(404, "not_found_error", "not scripted"))

    async def post(self) -> None:
        body = json.loads(self.request.body)
        reply = await self._api.answer(dict(self.request.headers), body)
        if isinstance(reply, Failure):
            self._fail(reply)
            return
        self.set_header("content-type", "text/event-stream")
        for event in _opening(self._api.next_id(), body["model"], reply.usage):
            self._event(event)
        await self.flush()
        async for piece in _iterated(reply.pieces):
            delta = {"type": "text_delta", "text": piece}
            self._event({"type": "content_block_delta", "index": 0, "delta": delta})
            await self.flush()
        for event in _closing(reply):
            self._event(event)
        await self.finish()

    def _event(self, event: Body) -> None:
        self.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n")

    def _fail(self, failure: Failure) -> None:
        self.set_status(failure.status)
        for name, value in failure.headers.items():
            self.set_header(name, value)
        error = {"type": failure.type, "message": failure.message}
        self.finish({"type": "error", "error": error})


def _opening(message_id: str, model: str, usage: Usage) -> list[Body]:
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": 1,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
    }
    message: dict[str, Any] = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
    }
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": counts}
    block = {"type": "text", "text": ""}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
    ]


def _closing(reply: Reply) -> list[Body]:
    delta = {"stop_reason": reply.stop_reason, "stop_sequence": None}
    usage = {"output_tokens": reply.usage.output_tokens}
    return [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": usage},
        {"type": "message_stop"},
    ]


async def _iterated(pieces: AsyncIterator[str] | tuple[str, ...]) -> AsyncIterator[str]:
    if isinstance(pieces, tuple):
        for piece in pieces:
            yield piece
    else:
        async for piece in pieces:
            yield piece


def conversation(body: Body) -> list[tuple[str, str]]:
    """The (role, text) pairs the client wrote, without what the CLI puts in on its own: messages
    with the role `system` and reminders in tags (measured)."""
    spoken = []
    for message in body["messages"]:
        if message["role"] != "system" and (text := "\n".join(_own_texts(message["content"]))):
            spoken.append((message["role"], text))
    return spoken


def _own_texts(content: str | list[Body]) -> list[str]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    return [text for text in texts if not text.startswith("<system-reminder>")]


async def remembers_names(body: Body) -> Reply:
    """Knows the name of whoever has said "My name is …" in the conversation it is shown."""
    spoken = conversation(body)
    words = sum(len(text.split()) for _, text in spoken)
    names = [m[1] for role, text in spoken if role == "user" for m in _NAME.finditer(text)]
    new = len(spoken[-1][1].split())
    if not names:
        pieces: tuple[str, ...] = ("I do not know ", "your name ", "yet.")
    elif len(spoken) > 1:
        pieces = ("Your name is ", f"{names[-1]}.")
    else:
        pieces = ("Nice to meet you, ", f"{names[-1]}!")
    usage = Usage(
        input_tokens=3,
        output_tokens=2 + 3 * len(pieces),
        cache_creation_input_tokens=40 + 4 * new,
        cache_read_input_tokens=300 + 4 * (words - new) if len(spoken) > 1 else 0,
    )
    return Reply(pieces, usage)


_NAME = re.compile(r"[Mm]y name is (\w+)")
