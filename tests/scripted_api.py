"""The scripted Messages API the real CLI talks to in tests: it does what the last message says.

Runs on a thread of its own, so that tests can use the official synchronous clients. What a prompt
asks for is written in it, so that any test can ask anything of one shared server:

    [fail 429]      an API error of that status; `[fail 400 too long]` for a long conversation
    [break]         the connection breaks after some text
    [hang]          nothing is ever answered
    [gate NAME]     one piece of text, then the rest when the test opens the gate
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from sessionbridge.cli.scripted_api import (
    Body,
    Call,
    Failure,
    Reply,
    ScriptedApi,
    conversation,
    remembers_names,
)

_COMMAND = re.compile(r"\[(fail|break|hang|gate)(?: ([^\]]+))?\]")
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
    """Use as a context manager. `calls` is every request made so far, oldest first."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._gates: dict[str, asyncio.Event] = {}
        self._held: dict[str, threading.Event] = {}

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
        shown = [conversation(call.body) for call in self.calls]
        return [spoken for spoken in shown if text in spoken[-1][1]]

    def usages(self, text: str) -> list[Mapping[str, int]]:
        """The token counts reported for prompts that hold `text`."""
        return [
            {name: getattr(call.reply.usage, name) for name in call.reply.usage.__slots__}
            for call in self.calls
            if isinstance(call.reply, Reply) and text in conversation(call.body)[-1][1]
        ]

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
        prompt = conversation(body)[-1][1]
        reply = await remembers_names(body)
        match _COMMAND.search(prompt):
            case None:
                return reply
            case command if command[1] == "fail":
                status, _, words = command[2].partition(" ")
                return _failure(int(status), words)
            case command if command[1] == "hang":
                await asyncio.Event().wait()
            case command if command[1] == "break":
                return Reply(_broken(), reply.usage)
            case command:
                return Reply(self._gated(command[2]), reply.usage)
        raise AssertionError(prompt)

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
