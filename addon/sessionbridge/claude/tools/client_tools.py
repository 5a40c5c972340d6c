"""The client's own tools: an MCP server in this process, which the CLI of one session talks to.

The CLI calls a tool while the model's answer is still being streamed, names the call by the model's
own id for it, and waits (measured with 2.1.332). The call is left open: the request ends with
`tool_use`, the client's next request brings the result, and with it the same turn of the model goes
on. So the model sees true calls and true results, under the names the client gave its tools
(`CLAUDE_AGENT_SDK_MCP_NO_PREFIX`).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from claude_agent_sdk.types import McpSdkServerConfig
from mcp import types
from mcp.server.lowlevel import Server

from sessionbridge.claude.tools.names import spelled
from sessionbridge.claude.tools.schemas import dropped_rule, taken_schema
from sessionbridge.errors import BadRequest
from sessionbridge.model import Block, Message, Tool, ToolResultBlock, parts_of
from sessionbridge.names import few

SERVERS = SERVER, OTHER_SERVER = "client", "client-again"
"""What it is called, in turns: of a server that it knows the CLI asks for no other tools (measured
with 2.1.332)."""

LONGEST_RESULT = 500_000
"""Characters. Of what is longer the CLI gives the model a preview, whatever it is told."""

ENVIRONMENT = {
    # The model calls the tools by the names the client knows.
    "CLAUDE_AGENT_SDK_MCP_NO_PREFIX": "1",
    # Descriptions whole, all calls of an answer at once, and nothing added to their results.
    "CLAUDE_CODE_MAX_MCP_DESCRIPTION_LENGTH": "10000000",
    "CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY": "1000",
    "CLAUDE_CODE_TOTAL_TOKENS_REMINDER": "off",
    # What the CLI tells the model of its own tools, it tells of any that has their name: how to
    # commit (Bash), which agents and which skills there are (Agent, Skill).
    "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS": "1",
    "CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS": "1",
    # How long a call may stay open is for the pool to say; here it is a day, in milliseconds.
    "CLAUDE_CODE_DISABLE_MCP_TASK_BACKGROUND": "1",
    "MCP_TOOL_TIMEOUT": "86400000",
    "MCP_TOOL_IDLE_TIMEOUT": "86400000",
}

_ID = "claudecode/toolUseId"
_LISTED_AS = {"Agent": "Task"}
"""Where the CLI's list of its tools has another name than the model is shown (2.1.332)."""


class ClientTools:
    """Those of one process; it may call them as soon as it has started. `bare` is whether that was
    told to add nothing of its own."""

    def __init__(self, *, bare: bool = False) -> None:
        self._bare = bare
        self.server = OTHER_SERVER
        """What it is called now."""
        self.change(())
        self._results: defaultdict[str, asyncio.Future[types.CallToolResult]] = defaultdict(
            asyncio.get_running_loop().create_future
        )
        server = Server(SERVER, on_list_tools=self._list, on_call_tool=self._call)
        self.config = McpSdkServerConfig(type="sdk", name=SERVER, instance=server)

    def change(self, tools: Sequence[Tool]) -> None:
        """The CLI asks for them when it is told of the server, which has another name then."""
        self.server = OTHER_SERVER if self.server == SERVER else SERVER
        names = spelled([tool.name for tool in tools])
        self._tools = [_described(tool, names[tool.name], self._bare) for tool in tools]
        self._given = {offered: given for given, offered in names.items()}
        self.names = frozenset(self._given)
        """Those the model knows."""

    def give(self, result: ToolResultBlock) -> None:
        """The result of a call, whether the CLI has already made that or is about to."""
        self._results[result["tool_use_id"]].set_result(_given(result))

    def given_name(self, name: str) -> str:
        """The client's name for a tool that the model knows by this one."""
        return self._given.get(name, name)

    def check_taken(self, listed: object) -> None:
        """Raises `BadRequest` where the CLI lists fewer tools than it was given: it says nothing
        itself of a schema that is not valid."""
        if not isinstance(listed, list):
            return
        there = {_LISTED_AS.get(name, name) for name in listed}
        missing = {name for name in self.names if _LISTED_AS.get(name, name) not in there}
        if missing:
            names = ", ".join(few(sorted(map(self.given_name, missing))))
            rule = "see whether the input schema is valid JSON Schema (draft 2020-12)."
            raise BadRequest(f"tools: the Claude CLI does not take {names}; {rule}", param="tools")

    async def _list(self, *_: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self._tools)

    async def _call(self, _: object, call: types.CallToolRequestParams) -> types.CallToolResult:
        # A name of the CLI's own, which the type of `meta` does not have.
        meta: Mapping[str, Any] = {**(call.meta or {})}
        return await self._results[meta[_ID]]


def answers(message: Message, calls: Iterable[str]) -> bool:
    """Whether this is the results of exactly these calls, in a form that open calls can return so
    that the model sees them unchanged."""
    results = [b for b in message.blocks if b["type"] == "tool_result" and _returnable(b)]
    found = [block["tool_use_id"] for block in results]
    return len(results) == len(message.blocks) and sorted(found) == sorted(calls)


def _returnable(block: ToolResultBlock) -> bool:
    """MCP has no documents, the CLI puts words in the place of an empty result, shows text alone of
    an error, and cuts long results short (measured with 2.1.332)."""
    parts = parts_of(block)
    if any(part["type"] not in ("text", "image") for part in parts):
        return False
    texts = [part["text"] for part in parts if part["type"] == "text"]
    images = [part["source"].get("type") for part in parts if part["type"] == "image"]
    if block.get("is_error") and (images or len(texts) != 1):
        return False
    says_something = bool(images) or any(text.strip() for text in texts)
    short = sum(map(len, texts)) < LONGEST_RESULT
    return says_something and short and all(kind == "base64" for kind in images)


def _given(result: ToolResultBlock) -> types.CallToolResult:
    content = [_content(part) for part in parts_of(result)]
    return types.CallToolResult(content=content, is_error=bool(result.get("is_error")))


def _content(part: Block) -> types.ContentBlock:
    if part["type"] == "text":
        return types.TextContent(text=part["text"])
    assert part["type"] == "image", "`answers` lets no other be given"
    source = part["source"]
    return types.ImageContent(data=source["data"], mime_type=source["media_type"])


def _described(tool: Tool, name: str, bare: bool) -> types.Tool:
    rule = dropped_rule(tool.schema)
    description = "\n\n".join(filter(None, [tool.description, rule]))
    meta: dict[str, Any] = {"anthropic/maxResultSizeChars": LONGEST_RESULT}
    if bare and rule:
        # The CLI puts a paragraph before it, and would leave it at that.
        meta["anthropic/searchHint"] = description
    return types.Tool(
        name=name,
        description=_whole(description) if bare else description,
        input_schema=taken_schema(tool.schema),
        # Read-only for the CLI, which then makes the calls of one answer at the same time.
        annotations=types.ToolAnnotations(read_only_hint=True),
        _meta=meta,
    )


def _whole(description: str) -> str:
    """A bare CLI tells the model the first paragraph alone, without the space around it; but where
    that is empty all of it, as it is (measured with 2.1.332)."""
    first = description.partition("\n\n")[0].strip()
    return description if first in ("", description) else f"\n\n{description}"
