"""What a Responses history holds of tools that OpenAI, or its client for it, has run: the calls of
its built-in tools, and their results.

The model reads them as calls and results like any others: the input holds what was asked for, the
result what came of it, both in the API's own fields. Where the API has one item for both, it
becomes two. What says nothing that a Claude model could use is left out, and named.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sessionbridge.apis.common.arguments import read_arguments
from sessionbridge.model import Block

Item = Mapping[str, Any]


class Tool(NamedTuple):
    """By which name the model knows a built-in tool, and the fields of an item that were `asked`
    of it and that it `told`."""

    name: str
    asked: tuple[str, ...]
    told: tuple[str, ...] = ()


CALLS = {
    "apply_patch_call": Tool("apply_patch", ("operation",)),
    "computer_call": Tool("computer", ("action", "actions")),
    "local_shell_call": Tool("local_shell", ("action",)),
    "mcp_approval_request": Tool("mcp_approval", ("server_label", "name", "arguments")),
    "program": Tool("program", ("code",)),
    "shell_call": Tool("shell", ("action",)),
    "tool_search_call": Tool("tool_search", ("arguments",)),
}
"""Calls whose results are items of their own."""

RESULTS = {
    "apply_patch_call_output": ("status", "output"),
    "computer_call_output": ("output",),
    "local_shell_call_output": ("output",),
    "mcp_approval_response": ("approve", "reason"),
    "program_output": ("result",),
    "shell_call_output": ("output",),
    "tool_search_output": ("tools",),
}
"""The fields that tell the result."""

BOTH = {
    "code_interpreter_call": Tool("code_interpreter", ("code",), ("outputs",)),
    "file_search_call": Tool("file_search", ("queries",), ("results",)),
    "image_generation_call": Tool("image_generation", ("action", "revised_prompt"), ("error",)),
    "mcp_call": Tool("mcp", (), ("output", "error")),
    "web_search_call": Tool("web_search", ("action",), ("status",)),
}
"""Calls that bring their results along."""

LEFT_OUT = {
    # What it holds can be read by OpenAI alone (see `Items` for those that were made here), or it
    # asks for something to be made of it.
    "compaction": True,
    "compaction_trigger": True,
    # Another effort or form of answer from there on; the request's own count.
    "configuration_update": True,
    # Of a server that only OpenAI talks to.
    "mcp_list_tools": True,
    # Of other models, or shown to the client only: the CLI has its own record of it.
    "reasoning": False,
}
"""Items that say nothing here, and whether that is told."""

BRINGS_TOOLS = ("additional_tools", "tool_search_output")
"""Items with tools that may be called from there on."""

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
"""What an image begins with."""


def call(kind: str, item: Item, id_: str) -> Block:
    tool = CALLS.get(kind) or BOTH[kind]
    if kind == "mcp_call":
        name = f"{item.get('server_label')}__{item.get('name')}"
        return _use(id_, name, read_arguments(str(item.get("arguments") or "")))
    return _use(id_, tool.name, _some(item, tool.asked))


def result(kind: str, item: Item, id_: str) -> Block:
    shown = _picture(kind, item)
    content = _told(kind, item) if shown is None else [shown]
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def _use(id_: str, name: str, asked: Mapping[str, Any]) -> Block:
    return {"type": "tool_use", "id": id_, "name": name, "input": asked}


def _told(kind: str, item: Item) -> str:
    if kind == "tool_search_output":
        # The tools themselves are offered; this is what has become of the search.
        return json.dumps([tool.get("name") for tool in item["tools"] if isinstance(tool, dict)])
    told = _some(item, RESULTS[kind] if kind in RESULTS else BOTH[kind].told)
    if kind == "computer_call_output" and isinstance(told.get("output"), dict):
        told["output"] = _some(told["output"], ("type", "file_id"))
    only = next(iter(told.values())) if len(told) == 1 else told
    return only if isinstance(only, str) else json.dumps(only, ensure_ascii=False)


def _picture(kind: str, item: Item) -> Block | None:
    """A screenshot or a picture that was made; None where the API behind the CLI could not read
    it, which is no reason to refuse all that was said."""
    if kind == "image_generation_call":
        return _read(item.get("result"))
    output = item.get("output")
    if kind != "computer_call_output" or not isinstance(output, dict):
        return None
    url = output.get("image_url")
    if isinstance(url, str) and url.lower().startswith(("https://", "http://")):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return _read(url.partition(";base64,")[2]) if isinstance(url, str) else None


def _read(data: object) -> Block | None:
    """An image by what it is: a picture's item need not say so."""
    if not isinstance(data, str) or not data:
        return None
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError:
        return None
    for start, media_type in _IMAGES.items():
        if content.startswith(start) and (media_type != "image/webp" or content[8:12] == b"WEBP"):
            source = {"type": "base64", "media_type": media_type, "data": data}
            return {"type": "image", "source": source}
    return None


def _some(item: Item, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: item[name] for name in names if item.get(name) is not None}
