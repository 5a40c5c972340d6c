"""The content blocks of a Messages request: checked, and passed as they are (see
`anthropic_messages`).

What tools at Anthropic have done is in the history as well. Blocks of the API's own pass
(`SERVER`); calls and results of its betas, which the CLI does not ask for, are told as those of any
tool, and what says nothing without its beta is left out, and named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, cast, get_args

from sessionbridge.apis.anthropic_messages import compaction
from sessionbridge.apis.common.body import (
    Fields,
    NotBlank,
    Part,
    check,
    parts,
    refused,
    text_of,
    unknown,
)
from sessionbridge.model import Block, Role, ServerResult, ToolResultBlock, is_blank
from sessionbridge.names import shown


class _Sourced(Fields):
    source: dict[str, Any]


class _ToolUse(Fields):
    id: str
    name: NotBlank
    input: dict[str, Any]


class _ToolResult(Fields):
    tool_use_id: str
    content: Any = None
    is_error: bool | None = None


class _ServerResult(Fields):
    tool_use_id: NotBlank
    content: Any


class _SearchResult(Fields):
    source: NotBlank
    title: NotBlank
    content: list[Any]


class _Thinking(Fields):
    thinking: str
    signature: str = ""


class _Redacted(Fields):
    data: NotBlank


class _Base64Source(Fields):
    media_type: NotBlank
    data: NotBlank


class _UrlSource(Fields):
    url: NotBlank


class _TextSource(Fields):
    data: NotBlank


class _ContentSource(Fields):
    content: Any


# `file` is missing on purpose: it names an upload of the client's account, not of the CLI's.
SOURCES: dict[str, dict[str, type[Fields]]] = {
    "image": {"base64": _Base64Source, "url": _UrlSource},
    "document": {
        "base64": _Base64Source,
        "url": _UrlSource,
        "text": _TextSource,
        "content": _ContentSource,
    },
}
THOUGHTS: dict[str, type[Fields]] = {"thinking": _Thinking, "redacted_thinking": _Redacted}
PLAIN_TYPES = ("text", "image", "document", "search_result")
SERVER_RESULTS: tuple[ServerResult, ...] = get_args(ServerResult)
SERVER = ("server_tool_use", *SERVER_RESULTS)
"""Measured with CLI 2.1.332: these reach the model as they are."""
TOLD_AS_RESULTS = ("mcp_tool_result", "advisor_tool_result", "tool_search_tool_result")
"""Together with their calls."""
LEFT_OUT = (
    "container_upload",
    "fallback",
    "mcp_tool_listing",
    "tool_addition",
    "tool_removal",
)
USER_TYPES = (*PLAIN_TYPES, "tool_result")
ASSISTANT_TYPES = (*PLAIN_TYPES, "tool_use", *THOUGHTS, *SERVER, "mcp_tool_use", *TOLD_AS_RESULTS)
TOLD_AS_JSON = ("tool_reference", "browser_state")
RESULT_TYPES = (*PLAIN_TYPES, *TOLD_AS_JSON)

# Marks of price and of answers that cannot be given back; a toolset is of a beta.
_DROPPED = ("cache_control", "citations", "toolset_name")


class Converted(NamedTuple):
    """What a message becomes: blocks of its own role and, of results within an answer, the
    user's. `ignored` names what was left out."""

    messages: list[tuple[Role, list[Block]]]
    ignored: set[str]


def said(
    content: object, role: Role, field: str, *, thinking: bool, after: int | None = None
) -> Converted:
    """The blocks of a message, those `after` a number alone; those of thinking only where this
    request has `thinking` on."""
    known = USER_TYPES if role == "user" else ASSISTANT_TYPES
    rest = list(parts(content, field))[0 if after is None else after + 1 :]
    # What a summary says is told apart, and without one the block says nothing.
    found = [part for part in rest if part.type != compaction.KIND]
    for part in found:
        if part.type not in (*known, *LEFT_OUT):
            raise unknown(part, known)
    ignored = {f"messages.content.{part.type}" for part in found if part.type in LEFT_OUT}
    kept = [
        part
        for part in found
        if part.type not in LEFT_OUT
        and (part.type not in THOUGHTS or (thinking and _is_signed(part)))
    ]
    results = _results(kept)
    given_up = [p for p in kept if p.type == "mcp_tool_use" and _id_of(p) not in results]
    if given_up:
        ignored.add("messages.content.mcp_tool_use")
    told = _with_results_apart([part for part in kept if part not in given_up], role, results)
    # An answer that was cut while the model thought has said nothing.
    says = any(b["type"] not in THOUGHTS and not is_blank(b) for _, blocks in told for b in blocks)
    return Converted(told if says else [], ignored)


def _results(found: list[Part]) -> set[str]:
    """The ids of the calls whose results are told apart."""
    results = [part for part in found if part.type in TOLD_AS_RESULTS]
    return {check(_ToolResult, part.value, part.field).tool_use_id for part in results}


def _id_of(part: Part) -> str:
    return check(_ToolUse, part.value, part.field).id


def _with_results_apart(
    found: list[Part], role: Role, results: set[str]
) -> list[tuple[Role, list[Block]]]:
    if not results:
        return [(role, [_block(part) for part in found])]
    runs: list[tuple[Role, list[Block]]] = []
    # The client's own calls are answered in the next message, so they come last.
    last = [_block(part) for part in found if part.type == "tool_use"]
    for speaker, block in _told(found, role, results):
        if not runs or runs[-1][0] != speaker:
            runs.append((speaker, []))
        runs[-1][1].append(block)
    return [*runs, (role, last)] if last else runs


def _told(found: list[Part], role: Role, results: set[str]) -> Iterator[tuple[Role, Block]]:
    for part in found:
        match part.type:
            case "tool_use":
                pass
            case "mcp_tool_use" | "server_tool_use" if _id_of(part) in results:
                yield role, _as_call(part)
            case kind if kind in TOLD_AS_RESULTS:
                yield "user", _as_result(part)
            case _:
                yield role, _block(part)


def _as_call(part: Part) -> Block:
    use = check(_ToolUse, part.value, part.field)
    server = part.value.get("server_name")
    name = f"{server}__{use.name}" if server else use.name
    return {"type": "tool_use", "id": use.id, "name": name, "input": use.input}


def _as_result(part: Part) -> Block:
    result = check(_ToolResult, part.value, part.field)
    content = result.content
    if not isinstance(content, str):
        plain = isinstance(content, list) and all(
            isinstance(block, dict) and block.get("type") == "text" for block in content
        )
        if plain:
            content = _plain_blocks(content, f"{part.field}.content")
        else:
            content = json.dumps(content, ensure_ascii=False)
    told: ToolResultBlock = {
        "type": "tool_result",
        "tool_use_id": result.tool_use_id,
        "content": content,
    }
    if result.is_error:
        told["is_error"] = True
    return told


def _is_signed(part: Part) -> bool:
    """A thought that was cut short has no signature, and the API takes none back without."""
    thought = check(THOUGHTS[part.type], part.value, part.field)
    return not isinstance(thought, _Thinking) or bool(thought.signature)


def _block(part: Part) -> Block:
    block = {name: value for name, value in part.value.items() if name not in _DROPPED}
    match part.type:
        case "text":
            text_of(part)
        case "tool_use" | "server_tool_use":
            check(_ToolUse, block, part.field)
        case "tool_result":
            result = check(_ToolResult, block, part.field)
            if isinstance(result.content, list):
                place = f"{part.field}.content"
                block["content"] = _plain_blocks(result.content, place, RESULT_TYPES)
            elif not isinstance(result.content, str | None):
                raise refused(f"{part.field}.content", "must be a string or a list of blocks")
        case "image" | "document":
            _check_source(part)
        case "search_result":
            found = check(_SearchResult, block, part.field)
            block["content"] = _plain_blocks(found.content, f"{part.field}.content")
        case kind if kind in SERVER_RESULTS:
            check(_ServerResult, block, part.field)
    return cast("Block", block)  # its fields were checked, and it may have more of them


def _plain_blocks(content: object, field: str, known: tuple[str, ...] = PLAIN_TYPES) -> list[Block]:
    found = list(parts(content, field))
    for part in found:
        if part.type not in known:
            raise unknown(part, known)
    return [block for block in map(_plain_block, found) if not is_blank(block)]


def _plain_block(part: Part) -> Block:
    block = _block(part)
    if part.type not in TOLD_AS_JSON:
        return block
    # For a reference the CLI would put a sentence of its own, the other is of a beta.
    return {"type": "text", "text": json.dumps(block, ensure_ascii=False)}


def _check_source(part: Part) -> None:
    source = check(_Sourced, part.value, part.field).source
    field = f"{part.field}.source"
    kind, known = source.get("type"), SOURCES[part.type]
    if not isinstance(kind, str) or kind not in known:
        word = shown(kind) if isinstance(kind, str) else "this value"
        rule = f"{word} is not a source this bridge can pass on; it can {', '.join(known)}"
        raise refused(f"{field}.type", rule)
    check(known[kind], source, field)
    if kind == "content":
        _plain_blocks(source["content"], f"{field}.content")
