"""One run of the Claude CLI: start it, feed it, ask it, end it. The SDK drives, this steers."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    CLIConnectionError,
    ProcessError,
    ResultMessage,
    StreamEvent,
)
from claude_agent_sdk import Message as CliMessage

# Not public, and the only private thing used: the SDK has no way to end a process at once. Closing
# its standard input in mid-turn waits for the whole answer and commits it to the transcript.
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from sessionbridge.claude.catalog import Model, api_name, catalog
from sessionbridge.claude.cli.answer_end import AnswerEnd
from sessionbridge.claude.cli.failures import from_result, translated
from sessionbridge.claude.cli.guardian import GUARDIAN
from sessionbridge.claude.cli.installed import OLDEST, new_enough
from sessionbridge.claude.tools.client_tools import SERVER, SERVERS, ClientTools
from sessionbridge.claude.transcript.imports import content_of
from sessionbridge.disk import on_thread
from sessionbridge.errors import ClaudeFailed, FeedRefused, SettingRefused
from sessionbridge.model import Message

_KEPT_STDERR_LINES = 20
_KEPT_OF_A_LINE = 1000
_PATIENCE = 3.0
"""Seconds for a CLI that was told to end; it takes under 50 ms (measured with 2.1.332)."""

_LONGEST_START = 60.0
"""Seconds; the driver does not wait any longer either."""
_LONGEST_SETTING = 10.0
"""Seconds; it takes some thousandths of that, where the machine has time."""

_PAUSE_AFTER = 250_000
"""Characters of a message that are serialised at a time, or one text where that is longer."""

_ENDING: set[asyncio.Task[None]] = set()
"""asyncio holds its tasks by weak references only."""


class _Transport(SubprocessCLITransport):
    """Ends its process at once, however it comes to be closed, unless told to `let_finish`."""

    let_finish = False
    pid: int | None = None
    end: AnswerEnd | None = None
    """Tells when the CLI would go on by itself."""

    def __init__(self, options: ClaudeAgentOptions) -> None:
        super().__init__(_nothing(), options)
        loop = asyncio.get_running_loop()
        self._asked: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._begun = False
        self._ended: Exception | None = None
        self.first: asyncio.Future[Mapping[str, Any]] = loop.create_future()
        """What the driver's first request is to hold beside its own; until that is known it is kept
        back."""

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def control(self, request: Mapping[str, Any], patience: float) -> Mapping[str, Any]:
        """Asks for what the driver has no word for. Returns what the CLI answers. Raises
        TimeoutError after `patience` seconds."""
        if self._ended is not None:
            raise self._ended
        id_ = str(uuid4())
        answered = self._asked[id_] = asyncio.get_running_loop().create_future()
        line = {"type": "control_request", "request_id": id_, "request": request}
        try:
            await self.write(json.dumps(line) + "\n")
            async with asyncio.timeout(patience):
                told: Mapping[str, Any] = await answered
                return told
        finally:
            del self._asked[id_]

    async def connect(self) -> None:
        if self._process is not None:
            return
        starting = asyncio.create_task(super().connect())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Its end is asyncio's to see to. Where all tasks were cancelled at once, because the
            # proxy stops, asyncio waits for that for ever, until it is cancelled again (measured
            # with Python 3.13).
            await asyncio.wait([starting], timeout=_PATIENCE)
            starting.cancel()
            await asyncio.wait([starting])
            raise
        assert self._process is not None
        self.pid = self._process.pid
        await GUARDIAN.watch(self.pid)

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def write(self, data: str) -> None:
        if not self._begun:
            line = json.loads(data)
            if line["request"]["subtype"] == "initialize":
                line["request"] |= await self.first
                data, self._begun = json.dumps(line) + "\n", True
        try:
            await super().write(data)
        except CLIConnectionError as error:
            code = await self._exit_code()
            if code is None:
                raise
            raise ProcessError("The CLI has ended", exit_code=code) from error

    async def _exit_code(self) -> int | None:
        """Once what it had to say is heard; None for one that has not ended."""
        if self._process is None:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._process.wait()
                if self._stderr_task is not None:
                    await self._stderr_task.wait()
        return self._process.returncode

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        async for message in self._heard():
            if message.get("type") == "control_response":
                told = message.get("response") or {}
                if (answered := self._asked.get(str(told.get("request_id")))) is not None:
                    if not answered.done():  # whoever asked may have left
                        answered.set_result(told)
                    continue
            if message.get("type") == "control_request":
                _by_its_first_name(message.get("request") or {})
            if self.end is not None and message.get("type") == "stream_event":
                self.end.hear(message.get("event") or {})
                if self.end.asks_again:
                    # Here, because it does so before the answer is read any further.
                    self.kill()
            yield message

    async def _heard(self) -> AsyncIterator[dict[str, Any]]:
        """Ends with an error, which is that of all who wait for the CLI."""
        try:
            async for message in self._read():
                yield message
            # The driver takes an exit with code 0 for a good end and waits for what never comes,
            # but no CLI of ours has a reason to leave on its own.
            raise ProcessError("The CLI ended on its own", exit_code=0)
        except Exception as error:
            self._ended = error
            for waiting in (self.first, *self._asked.values()):
                if not waiting.done():
                    waiting.set_exception(error)
                    waiting.exception()  # there may be nobody who waits
            raise

    async def _read(self) -> AsyncIterator[dict[str, Any]]:
        try:
            async for message in super().read_messages():
                yield message
        except ProcessError:
            await self._exit_code()
            raise

    async def close(self) -> None:
        if not self.let_finish:
            self.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._drain()
        await super().close()

    async def _drain(self) -> None:
        """asyncio does not call a process ended while its output is unread."""
        if self._stdout_stream is not None:
            with suppress(Exception):
                async for _ in self._stdout_stream:
                    pass
        if self._stderr_task is not None:
            await self._stderr_task.wait()


class CliProcess:
    """A process of its own for one session, which may call the `tools`. `clear_up` is given its pid
    when it has ended. Every failure leaves as a `BridgeError`."""

    def __init__(
        self,
        options: ClaudeAgentOptions,
        tools: ClientTools,
        clear_up: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self._stderr: deque[str] = deque(maxlen=_KEPT_STDERR_LINES)
        options = replace(options, stderr=self._keep)
        self._verbatim = options.verbatim_prompts
        self._name = str(options.cli_path or "its place in claude-agent-sdk")
        self._transport = _Transport(options)
        # To the driver alone: the CLI is told of the server when it begins.
        served = replace(options, mcp_servers={SERVER: tools.config})
        self._client = ClaudeSDKClient(served, transport=self._transport)
        self._connecting: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._clear_up = clear_up
        self.version: str | None = None
        """None until it has begun."""
        self.has_login = True
        """Whether it has begun with a login or a key. One without takes a later login, but not all
        that comes with it: its requests lack betas (measured with 2.1.332)."""
        self.models: tuple[Model, ...] = ()
        """Those it offers, once it has begun."""
        self.model = ""
        """The one it asks, by its name in the API."""

    @property
    def pid(self) -> int | None:
        """None until it runs; kept when it has ended."""
        return self._transport.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._transport.alive

    async def spawn(self) -> None:
        """Returns when it waits for what it is to begin with."""
        with translated(self._stderr, self._name):
            await self._transport.connect()
            self._connect()
            # Of all that it answers by then the least.
            await self._transport.control({"subtype": "mcp_status"}, _LONGEST_START)

    async def begin(self, first: Mapping[str, Any]) -> None:
        """Has it run and take what its first request is to hold; it can be asked then."""
        with translated(self._stderr, self._name):
            if not self._transport.first.done():
                self._transport.first.set_result(first)
            await self._connect()
            self._incoming = self._client.receive_messages()
            info = await self._client.get_server_info() or {}
        self.models = catalog(info.get("models"))
        self.has_login = _has_login(info.get("account"))
        version = str(info.get("claude_code_version", "unknown"))
        if not new_enough(version):
            raise ClaudeFailed(
                f"The Claude CLI at {self._name} has version {version}, which is too old to keep a "
                f"conversation exactly; install {'.'.join(map(str, OLDEST))} or newer."
            )
        self.version = version

    async def feed(self, message: Message) -> str:
        """Adds a message to the conversation without asking the model; returns its entry's uuid.

        Undocumented but measured with 2.1.332: a user message with `shouldQuery: false` is answered
        by an empty result, an assistant message by nothing. Not waiting for the result reorders
        messages.
        """
        if message.role == "assistant":
            return await self._send(message, {})
        entry = await self._send(message, {"shouldQuery": False})
        async with aclosing(self.messages()) as answers:
            async for answer in answers:
                match answer:
                    case StreamEvent():
                        break  # not after the whole of an answer nobody asked for
                    case ResultMessage(is_error=True):
                        raise from_result(answer, None, None)
                    case ResultMessage():
                        if answer.num_turns:
                            break
                        return entry
        raise FeedRefused("The Claude CLI did not take over the conversation's earlier messages.")

    def _connect(self) -> asyncio.Task[None]:
        """Once; the driver comes no further than its first request until that is told."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._client.connect())
            self._connecting.add_done_callback(_is_heard)
        return self._connecting

    def asks(self, model: str) -> None:
        """The model that it has been told to ask, by a name that the CLI knows."""
        self.model = api_name(model, self.models)

    async def set(self, request: Mapping[str, Any]) -> None:
        """Has it change a setting. Raises `SettingRefused`, which it always will be."""
        with translated(self._stderr, self._name):
            try:
                told = await self._transport.control(request, _LONGEST_SETTING)
            except TimeoutError:
                raise ClaudeFailed(
                    f"The Claude CLI has not taken {request['subtype']} within "
                    f"{_LONGEST_SETTING:g} s; try again."
                ) from None
        if told.get("subtype") != "success":
            raise SettingRefused(
                f"The Claude CLI does not take {request['subtype']} while it runs; try again."
            )

    async def ask(self, message: Message) -> str:
        """Asks the model; returns the uuid the message has in the transcript."""
        return await self._send(message, {})

    @property
    def asked_again(self) -> bool:
        """Whether it was ended because it would have asked the model again."""
        return self._transport.end is not None and self._transport.end.asks_again

    def stop_at(self, end: AnswerEnd) -> None:
        """Ends the process as soon as the CLI would ask the model again by itself."""
        self._transport.end = end

    async def messages(self) -> AsyncGenerator[CliMessage]:
        """Everything the CLI says from here on; raises when it has nothing more to say."""
        with translated(self._stderr, self._name):
            async for message in self._incoming:
                yield message
            raise ClaudeFailed("The Claude CLI ended in the middle of a turn; try again.")

    async def finish(self) -> None:
        """Ends a process that has nothing left to do; it writes its transcript out first."""
        self._transport.let_finish = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await asyncio.shield(self._end())
        finally:
            await self.kill()

    async def kill(self) -> None:
        """Ends it in mid-turn. The transcript keeps debris, which the next resume leaves behind."""
        self.kill_now()  # first of all, for what follows can be cancelled
        await asyncio.shield(self._end())

    def kill_now(self) -> None:
        """Without waiting until it has ended."""
        self._transport.let_finish = False
        self._transport.kill()

    def _keep(self, line: str) -> None:
        self._stderr.append(line[:_KEPT_OF_A_LINE])

    def _end(self) -> asyncio.Task[None]:
        """A task of its own, once: the driver's clean-up does not survive a second cancellation."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._close())
            _ENDING.add(self._ending)
            self._ending.add_done_callback(_ENDING.discard)
        return self._ending

    async def _close(self) -> None:
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await self._client.disconnect()
        # The client does not close a transport that failed before they were joined.
        await self._transport.close()
        if self.pid is not None:
            GUARDIAN.forget(self.pid)
            await on_thread(partial(self._clear_up, self.pid))

    async def _send(self, message: Message, extra: dict[str, Any]) -> str:
        """The line is the one `ClaudeSDKClient.query` would write, but that never pauses."""
        entry = str(uuid4())
        line: dict[str, Any] = {
            "type": message.role,
            "uuid": entry,
            "message": content_of(message, self.model),
            "parent_tool_use_id": None,
            **extra,
            "session_id": "default",
        }
        if self._verbatim:
            line["client_composed"] = True
        with translated(self._stderr, self._name):
            text = json.dumps(line) if _is_short(message) else await _serialised(line)
            try:
                await self._transport.write(text + "\n")
            except (CLIConnectionError, ProcessError):
                await self._raise_its_last_words()
                raise
        return entry

    async def _raise_its_last_words(self) -> None:
        """A CLI that refuses a session says why and ends, perhaps before it is written to."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                async for _ in self._incoming:
                    pass


def _has_login(account: object) -> bool:
    """By what the CLI tells when it begins; unknown words are no reason to doubt."""
    match account:
        case {"tokenSource": "none", "apiProvider": "firstParty", **more}:
            return "apiKeySource" in more
    return True


def _is_heard(connecting: asyncio.Task[None]) -> None:
    """Of one that fails while nobody waits for it asyncio would complain."""
    if not connecting.cancelled():
        connecting.exception()


def _by_its_first_name(request: dict[str, Any]) -> None:
    """The driver knows the server of the client's tools by one name."""
    if request.get("server_name") in SERVERS:
        request["server_name"] = SERVER


def _is_short(message: Message) -> bool:
    texts = [block["text"] for block in message.blocks if block["type"] == "text"]
    return len(texts) == len(message.blocks) and sum(map(len, texts)) < _PAUSE_AFTER


async def _serialised(line: dict[str, Any]) -> str:
    """What `json.dumps` makes of it, with pauses for other turns: 20 MB of images take 120 ms.

    A thread would not help: `dumps` keeps the interpreter's lock until it is done (measured with
    Python 3.13).
    """
    parts: list[str] = []
    size = 0
    for part in json.JSONEncoder().iterencode(line):
        parts.append(part)
        size += len(part)
        if size > _PAUSE_AFTER:
            size = 0
            await asyncio.sleep(0)
    return "".join(parts)


async def _nothing() -> AsyncIterator[dict[str, Any]]:
    """The transport wants a stream of prompts; ours are sent one by one."""
    return
    yield {}
