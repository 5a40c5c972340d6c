"""One run of the Claude CLI: start it, feed it, ask it, end it. The SDK drives, this steers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ResultMessage
from claude_agent_sdk import Message as CliMessage

# Not public, and the only private thing used: the SDK has no way to end a process at once. Closing
# its standard input in mid-turn waits for the whole answer and commits it to the transcript.
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from sessionbridge.claude.failures import translated
from sessionbridge.errors import ClaudeFailed
from sessionbridge.turn import Message

_KEPT_STDERR_LINES = 20


class _Transport(SubprocessCLITransport):
    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


class CliProcess:
    """A process of its own for one session. Every failure leaves as a `BridgeError`."""

    def __init__(self, options: ClaudeAgentOptions) -> None:
        self._stderr: deque[str] = deque(maxlen=_KEPT_STDERR_LINES)
        options = replace(options, stderr=self._stderr.append)
        self._name = str(options.cli_path or "its place in claude-agent-sdk")
        self._transport = _Transport(_nothing(), options)
        self._client = ClaudeSDKClient(options, transport=self._transport)

    async def start(self) -> None:
        with translated(self._stderr, self._name):
            await self._client.connect()
            self._incoming = self._client.receive_messages()

    async def feed(self, message: Message) -> str:
        """Adds a message to the conversation without asking the model; returns its entry's uuid.

        Undocumented but measured: a user message with `shouldQuery: false` is answered by an empty
        result, an assistant message by nothing. Not waiting for the result reorders messages.
        """
        if message.role == "assistant":
            return await self._send(message, {})
        entry = await self._send(message, {"shouldQuery": False})
        async for answer in self.messages():
            if isinstance(answer, ResultMessage):
                if answer.is_error or answer.num_turns:
                    break
                return entry
        raise ClaudeFailed("The Claude CLI did not take over the conversation's earlier messages.")

    async def ask(self, message: Message) -> str:
        """Asks the model; returns the uuid the message has in the transcript."""
        return await self._send(message, {})

    async def messages(self) -> AsyncIterator[CliMessage]:
        """Everything the CLI says from here on."""
        with translated(self._stderr, self._name):
            async for message in self._incoming:
                yield message

    async def finish(self) -> None:
        """Ends a process that has nothing left to do; it writes its transcript out first."""
        await self._client.disconnect()

    async def kill(self) -> None:
        """Ends it in mid-turn. The transcript keeps debris, which the next resume leaves behind."""
        self._transport.kill()
        await self._client.disconnect()

    async def _send(self, message: Message, extra: dict[str, Any]) -> str:
        entry = str(uuid4())
        content = [dict(block) for block in message.blocks]
        line = {
            "type": message.role,
            "uuid": entry,
            "message": {"role": message.role, "content": content},
            "parent_tool_use_id": None,
        } | extra

        async def lines() -> AsyncIterator[dict[str, Any]]:
            yield line

        with translated(self._stderr, self._name):
            await self._client.query(lines())
        return entry


async def _nothing() -> AsyncIterator[dict[str, Any]]:
    """The transport wants a stream of prompts; ours are sent one by one."""
    return
    yield {}
