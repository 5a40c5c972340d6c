"""The scripted Messages API the real CLI talks to in tests: it does what the last message says.

Runs on a thread of its own, so that tests can use the official synchronous clients. What a prompt
asks for is written in it, so that any test can ask anything of one shared server:

    [fail 429]      an API error of that status; `[fail 400 too long]` for a long conversation
    [break]         the connection breaks after some text
    [hang]          nothing is ever answered
    [gate NAME]     one piece of text, then the rest when the test opens the gate
    [call NAME JSON]    the tool is called; several in one prompt are one answer's parallel calls,
                    and the text before them is what it says before it calls. A tool that is not
                    offered is missed in words; without JSON the input is {}
    [think TEXT]    it thinks before it speaks, where the request has thinking on
    [structured JSON]   the CLI's own tool StructuredOutput is called, where it is offered
    [max_tokens]    the answer ends for its length, whatever it holds
    [answer JSON]   all of the answer as the API has it: its `content`, and where they matter its
                    `stop_reason`, its `stop_details`, and what it tells of the usage first and last
                    (`told`, `told_last`); it is not given where other commands follow it

Except for the first three they can stand together. What tools returned is quoted, "Returned: A; B",
unless the last of the results holds commands: these are obeyed then, so one prompt can ask for as
many rounds as its test's tools want.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from sessionbridge.cli.demo.scripted_api import (
    Body,
    Call,
    Failure,
    Reply,
    ScriptedApi,
    remembers_names,
    spoken,
    text_of,
)
from sessionbridge.cli.demo.scripted_events import Pieces
from tests.support.scripted_commands import Prompt, obeyed, prompt
from tests.support.whole_requests import Told, check, messages

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


class Broken(Exception):
    """Ends a stream without its closing events."""


class ScriptedServer:
    """Use as a context manager. `calls` is every request made so far, oldest first; `said` what
    tests say as the CLI would (see `whole_requests.check`)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._gates: dict[str, asyncio.Event] = {}
        self._held: dict[str, threading.Event] = {}
        self._ids = count(1)
        self._checked = 0
        self._shown: dict[int, Told] = {}
        self._forgetful = False
        self._headers: Mapping[str, str] = {}
        self._fails: int | None = None
        self.said: set[str] = set()

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        self._api = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self.url = self._api.url
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def calls(self) -> Sequence[Call]:
        return list(self._api.calls)

    def seen(self, text: str) -> list[list[tuple[str, str]]]:
        """The conversations shown to the model whose last message holds `text`, oldest first."""
        shown = [spoken(told) for _, told in self._told()]
        return [said for said in shown if text in said[-1][1]]

    def heard(self, text: str) -> list[Call]:
        """The calls for conversations in which a user says `text` anywhere, oldest first: those of
        all rounds of a turn, when it is in what began it."""
        return [
            call
            for call, told in self._told()
            for said in ["\n".join(text_of(b) for role, b in told if role == "user")]
            if text in said
        ]

    def usages(self, text: str) -> list[Mapping[str, Any]]:
        """The token counts reported for prompts that hold `text`."""
        return [
            call.reply.usage.told
            for call, told in self._told()
            if isinstance(call.reply, Reply) and text in spoken(told)[-1][1]
        ]

    def _told(self) -> Iterator[tuple[Call, Told]]:
        """Each call with what it shows, which is read once: all tests' calls are among them."""
        for number, call in enumerate(self.calls):
            if number not in self._shown:
                self._shown[number] = messages(call)
            yield call, self._shown[number]

    def check(self) -> None:
        """Every request since the last time is accounted for, to the last character."""
        calls = self.calls[self._checked :]
        self._checked += len(calls)
        for call in calls:
            check(call, self.said)

    @contextmanager
    def forgetful(self) -> Iterator[None]:
        """A model that remembers no name."""
        self._forgetful = True
        try:
            yield
        finally:
            self._forgetful = False

    @contextmanager
    def telling(self, headers: Mapping[str, str]) -> Iterator[None]:
        """With each answer, as the API tells of a login's limits."""
        self._headers = headers
        try:
            yield
        finally:
            self._headers = {}

    @contextmanager
    def failing(self, status: int) -> Iterator[None]:
        """An account at its limit, or an API that is down."""
        self._fails = status
        try:
            yield
        finally:
            self._fails = None

    def open_gate(self, name: str) -> None:
        self._loop.call_soon_threadsafe(self._gate(name).set)

    def wait_until_held(self, name: str, timeout: float = 20) -> None:
        """Returns when an answer waits at the gate."""
        assert self._held.setdefault(name, threading.Event()).wait(timeout), f"no {name} at gate"

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _start(self) -> ScriptedApi:
        return ScriptedApi(self._script)

    async def _stop(self) -> None:
        await self._api.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _script(self, body: Body) -> Reply | Failure:
        if self._fails is not None:
            return _failure(self._fails, "")
        asked = prompt(body)
        reply = await remembers_names(body)
        if self._forgetful:
            reply = Reply(("I do not know.",), reply.usage)
        if self._headers:
            reply = replace(reply, headers=self._headers)
        match asked.get("fail", "hang", "break"):
            case None:
                if not asked.commands and not asked.results:
                    return reply
            case command if command.name == "fail":
                status, _, words = command.words.partition(" ")
                return _failure(int(status), words)
            case command if command.name == "break":
                return Reply(_broken(), reply.usage)
            case _:
                await asyncio.Event().wait()
        return obeyed(body, asked, self._said(asked, reply), self._new_id)

    def _said(self, asked: Prompt, reply: Reply) -> Pieces | str:
        if gate := asked.get("gate"):
            return self._gated(gate.words)
        if asked.get("call", "structured", "answer"):
            return asked.before
        if asked.results:
            return f"Returned: {'; '.join(asked.results)}"
        return reply.pieces

    def _new_id(self) -> str:
        return f"toolu_{next(self._ids)}"

    async def _gated(self, name: str) -> AsyncIterator[str]:
        yield "before the gate "
        self._held.setdefault(name, threading.Event()).set()
        await self._gate(name).wait()
        yield "after the gate"


async def _broken() -> AsyncIterator[str]:
    yield "a beginning "
    raise Broken


def _failure(status: int, words: str) -> Failure:
    message = f"scripted {status}"
    if words == "too long":
        message = "prompt is too long: 250000 tokens > 200000 maximum"
    headers = {"retry-after": "1"} if status in (429, 529) else {}
    return Failure(status, _TYPES[status], message, headers)


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def assistant(text: str) -> Any:
    return {"role": "assistant", "content": text}
