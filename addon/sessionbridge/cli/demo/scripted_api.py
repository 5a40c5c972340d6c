"""A small Messages API on loopback that answers from a script: for the demo and for tests.

It speaks enough of https://docs.anthropic.com/en/api/messages for the real Claude CLI, so that the
whole bridge can be seen at work without an account. What it counts as tokens is made up, but it
behaves as the real API does: what a session has said before is read from the cache.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from sessionbridge.cli.demo.scripted_events import Block, Event, Pieces, events

Body = Mapping[str, Any]
_MANY = 500


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the API reports them. Of those written to the cache the ones `1h` are kept for an
    hour; None leaves the split untold."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    cache_creation_1h_input_tokens: int | None = None

    @property
    def told(self) -> dict[str, Any]:
        counts: dict[str, Any] = asdict(self)
        hour = counts.pop("cache_creation_1h_input_tokens")
        if hour is None:
            return counts
        split = {
            "ephemeral_5m_input_tokens": self.cache_creation_input_tokens - hour,
            "ephemeral_1h_input_tokens": hour,
        }
        return counts | {"cache_creation": split}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error instead of an answer."""

    status: int
    type: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what it costs: a text in pieces as they are to be streamed, or `content` in
    the blocks of the API, where a text may be given in pieces as well, and the input of a call as
    the text that the model writes. Where no `stop_reason` is named, it is the one such content has.
    `told` and `told_last` are added to the usage of its first event and of its last."""

    pieces: Pieces
    usage: Usage
    stop_reason: str = ""
    content: tuple[Block, ...] | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    told_last: Mapping[str, Any] = field(default_factory=dict)
    stop_details: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def blocks(self) -> tuple[Block, ...]:
        if self.content is None:
            return ({"type": "text", "text": self.pieces},)
        return self.content

    @property
    def ends_with(self) -> str:
        calls = any(block["type"] == "tool_use" for block in self.blocks)
        return self.stop_reason or ("tool_use" if calls else "end_turn")


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
        # Or what comes after a first piece waits until that has been acknowledged, 40 ms.
        assert isinstance(self.request.connection, HTTP1Connection)
        self.request.connection.stream.set_nodelay(True)
        self.set_header("content-type", "text/event-stream")
        for name, value in reply.headers.items():
            self.set_header(name, value)
        counts = reply.usage.told
        usage = counts | {"output_tokens": 1} | {**reply.told}
        message = {"id": self._api.next_id(), "model": body["model"], "usage": usage}
        last = {"output_tokens": counts["output_tokens"], **reply.told_last}
        answer = events(message, reply.blocks, reply.ends_with, last, reply.stop_details)
        async for event in answer:
            self._event(event)
            await self.flush()
        await self.finish()

    def _event(self, event: Event) -> None:
        self.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n")

    def _fail(self, failure: Failure) -> None:
        self.set_status(failure.status)
        for name, value in failure.headers.items():
            self.set_header(name, value)
        error = {"type": failure.type, "message": failure.message}
        self.finish({"type": "error", "error": error})


def messages(body: Body) -> list[tuple[str, list[Block]]]:
    """Who said what in blocks, without what the CLI puts in on its own: messages with the role
    `system` and reminders in tags (measured with 2.1.332)."""
    told = [(m["role"], _blocks(m["content"])) for m in body["messages"] if m["role"] != "system"]
    return [(role, blocks) for role, blocks in told if blocks]


def conversation(body: Body) -> list[tuple[str, str]]:
    """The (role, text) pairs of it; messages without text are left out."""
    return spoken(messages(body))


def spoken(told: Sequence[tuple[str, Sequence[Block]]]) -> list[tuple[str, str]]:
    """Of each message that has a text, who said it and all of it."""
    joined = [
        (role, "\n".join(block["text"] for block in blocks if block["type"] == "text"))
        for role, blocks in told
    ]
    return [(role, text) for role, text in joined if text]


def text_of(content: str | Sequence[Block]) -> str:
    """The text in a content of any kind; what tools returned is part of it."""
    texts = []
    for block in _blocks(content):
        if block["type"] == "tool_result":
            texts.append(text_of(block.get("content", "")))
        elif block["type"] == "text":
            texts.append(block["text"])
    return "\n".join(texts)


def _blocks(content: str | Sequence[Block]) -> list[Block]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [block for block in blocks if not _is_reminder(block)]


def _is_reminder(block: Block) -> bool:
    return block["type"] == "text" and str(block["text"]).startswith("<system-reminder>")


async def remembers_names(body: Body) -> Reply:
    """Knows the name of whoever has said "My name is …" in the conversation it is shown."""
    spoken = conversation(body)
    names = [m[1] for role, text in spoken if role == "user" for m in _NAME.finditer(text)]
    if not names:
        pieces: tuple[str, ...] = ("I do not know ", "your name ", "yet.")
    elif len(spoken) > 1:
        pieces = ("Your name is ", f"{names[-1]}.")
    else:
        pieces = ("Nice to meet you, ", f"{names[-1]}!")
    return Reply(pieces, usage_of(body, 2 + 3 * len(pieces)))


def usage_of(body: Body, output_tokens: int) -> Usage:
    """What an answer costs: all but the last message is read from the cache. Long messages count
    for less than they would, because the CLI gives up where it believes that its model is full."""
    words = [len(text_of(blocks).split()) for _, blocks in messages(body)]
    *before, new = [min(count, _MANY) for count in words]
    return Usage(
        input_tokens=3,
        output_tokens=output_tokens,
        cache_creation_input_tokens=40 + 4 * new,
        cache_read_input_tokens=300 + 4 * sum(before) if before else 0,
    )


_NAME = re.compile(r"[Mm]y name is (\w+)")
