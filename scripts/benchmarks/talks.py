"""The contestants: one conversation each, held through the proxy, by the bare SDK, or by the CLI.

All of them ask the same CLI the same words with the same settings. `ask` returns the seconds until
the first piece of the answer, and reads the rest of it before it returns.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import claude_agent_sdk
import httpx
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage, StreamEvent
from claude_agent_sdk.types import ThinkingConfigDisabled

from scripts.benchmarks.place import Place, answer_to
from sessionbridge.claude.cli.environment import child_environment
from sessionbridge.claude.tools import client_tools
from tests.support.proxy import environment
from tests.support.scripted_api import assistant, user

CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
MODEL = "claude-sonnet-4-5"
SYSTEM = "Be brief."
CHOSEN = client_tools.ENVIRONMENT | {
    "CLAUDE_CODE_DISABLE_THINKING": "1",
    "DISABLE_AUTO_COMPACT": "1",
}
QUESTION = "How many messages do you see?"

_FIRST = b"event: content_block_delta"


class Talk(Protocol):
    async def ask(self) -> float: ...
    async def close(self) -> None: ...


class ProxyTalk:
    """A client as opencode is one: it holds the conversation itself, sends all of it each time,
    names it in a header, and keeps its connection."""

    def __init__(
        self,
        http: httpx.Client,
        earlier: int = 0,
        url: str = "https://api.anthropic.com",
        **settings: Any,
    ) -> None:
        """With so many earlier messages, which the bridge has never seen. `settings` are fields of
        the request's body."""
        self._http = http
        self._url = f"{url}/v1/messages"
        self._settings = {"model": MODEL, "max_tokens": 1000, "system": SYSTEM, **settings}
        name = f"ses_{uuid4().hex}"
        self._headers = {
            "user-agent": "opencode/1.0.0",
            "x-session-affinity": name,
            "x-api-key": "sk-ant-client-key",
            "anthropic-version": "2023-06-01",
            "content-type": "application/json",
        }
        roles = (user, assistant) * (earlier // 2)
        self._messages = [say(f"Message {n} of {name}.") for n, say in enumerate(roles)]

    def go_to(self, url: str) -> None:
        """The next turns are asked there."""
        self._url = f"{url}/v1/messages"

    async def ask(self, **changes: Any) -> float:
        self._settings |= changes
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> float:
        self._messages.append(user(QUESTION))
        content = json.dumps(self._body()).encode()
        request = self._http.build_request(
            "POST", self._url, content=content, headers=self._headers
        )
        received, first = b"", 0.0
        begun = time.perf_counter()
        response = self._http.send(request, stream=True)
        try:
            for piece in response.iter_raw():
                received += piece
                if not first and _FIRST in received:
                    first = time.perf_counter()
        finally:
            response.close()
        said = _text(received)
        _check(said, len(self._messages), received)
        self._answered(received, said)
        return first - begun

    def _body(self) -> dict[str, Any]:
        return self._settings | {"stream": True, "messages": self._messages}

    def _answered(self, received: bytes, said: str) -> None:
        self._messages.append(assistant(said))

    async def close(self) -> None:
        """The connection is not only this conversation's."""


class ThreadTalk(ProxyTalk):
    """A client whose conversation the API keeps as a thread: it sends what is new."""

    _last: str | None = None

    def _body(self) -> dict[str, Any]:
        if self._last is None:
            return super()._body() | {"thread": {"type": "create"}}
        thread = {"type": "continue", "previous_message_id": self._last}
        settings = {name: value for name, value in self._settings.items() if name != "system"}
        return settings | {"stream": True, "messages": self._messages[-1:], "thread": thread}

    def _answered(self, received: bytes, said: str) -> None:
        super()._answered(received, said)
        started = next(event for event in _events(received) if event["type"] == "message_start")
        self._last = started["message"]["id"]


class BareTalk:
    """The SDK's own client on a process of its own, with nothing of ours between."""

    def __init__(self, place: Place, resume: str | None = None, said: int = 0) -> None:
        """To resume, `said` is how many messages that session already has."""
        self.session = resume or str(uuid4())
        self.said = said
        self._client = ClaudeSDKClient(_options(place, self.session, resume is not None))

    async def connect(self) -> None:
        await self._client.connect()

    async def ask(self) -> float:
        first, text, end = 0.0, "", None
        begun = time.perf_counter()
        await self._client.query(QUESTION)
        async for message in self._client.receive_response():
            match message:
                case StreamEvent(event={"delta": {"type": "text_delta", "text": piece}}):
                    first = first or time.perf_counter()
                    text += piece
                case ResultMessage():
                    end = message
        self.said += 2
        _check(text, self.said - 1, end)
        return first - begun

    async def close(self) -> None:
        await self._client.disconnect()


class PrintTalk:
    """`claude --print --output-format json`, once for each turn. It does not stream: its first
    piece is its last."""

    def __init__(self, place: Place) -> None:
        self._session = str(uuid4())
        self._said = 0
        self._cwd, inherited, extra = _surroundings(place)
        self._env = child_environment(inherited, CHOSEN, extra, secret="-", retries=0)

    async def ask(self) -> float:
        session = "--resume" if self._said else "--session-id"
        command = [str(CLI), "--print", "--output-format", "json", session, self._session]
        command += ["--model", MODEL, "--system-prompt", SYSTEM, "--tools", ""]
        command += ["--strict-mcp-config", "--setting-sources", ""]
        begun = time.perf_counter()
        ended = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=self._cwd,
            env=self._env,
            input=QUESTION.encode(),
            capture_output=True,
            check=True,
        )
        whole = time.perf_counter() - begun
        self._said += 2
        _check(json.loads(ended.stdout)["result"], self._said - 1, ended.stdout)
        return whole

    async def close(self) -> None:
        """Nothing of it runs between turns."""


def _options(place: Place, session: str, resumes: bool) -> ClaudeAgentOptions:
    """As `ClaudeDispatcher` starts it."""
    cwd, inherited, extra = _surroundings(place)
    blanked = dict.fromkeys(os.environ, "") | inherited  # or the SDK would hand all of ours on
    prompt = place.folder / "system.txt"
    prompt.write_text(SYSTEM)
    return ClaudeAgentOptions(
        cwd=cwd,
        env=child_environment(blanked, CHOSEN, extra, secret="-", retries=0),
        model=MODEL,
        system_prompt={"type": "file", "path": str(prompt)},
        tools=[],
        strict_mcp_config=True,
        setting_sources=[],
        verbatim_prompts=True,
        include_partial_messages=True,
        extra_args={"system-prompt-snapshot": "off", "disable-slash-commands": None},
        thinking=ThinkingConfigDisabled(type="disabled"),
        effort="high",
        resume=session if resumes else None,
        session_id=None if resumes else session,
    )


def _surroundings(place: Place) -> tuple[Path, dict[str, str], dict[str, str]]:
    """Working directory, environment to inherit and what is added to it, as the proxy has them."""
    home = place.home("bare")
    cwd = home / "work"
    cwd.mkdir(exist_ok=True)
    extra = {"ANTHROPIC_AUTH_TOKEN": "dummy", "ANTHROPIC_BASE_URL": place.api}
    return cwd, environment(home), extra


def _text(stream: bytes) -> str:
    return "".join(
        event["delta"]["text"]
        for event in _events(stream)
        if event["type"] == "content_block_delta"
    )


def _events(stream: bytes) -> Iterator[dict[str, Any]]:
    for line in stream.decode().splitlines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def _check(said: str, shown: int, all_of_it: object) -> None:
    if said != answer_to(shown):
        raise RuntimeError(f"expected {answer_to(shown)!r}: {str(all_of_it)[:500]}")
