"""One conversation over all its turns and branches, as the page shows it.

The ledger has the tree, the CLI's transcripts have the texts. They are read when somebody looks and
kept nowhere else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sessionbridge.errors import SessionLost
from sessionbridge.model import Block, Message, SessionKey, ToolResultBlock, ToolUseBlock, parts_of
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.sessions.planning.memory import ReadMessages
from sessionbridge.sessions.store.ledger import key_document
from sessionbridge.sessions.store.store import LedgerTurn

Document = dict[str, Any]
Places = Sequence[tuple[str, str]]
"""Where a turn can be continued from: a hash, and the transcript's entry there."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ledger has of a conversation; `places` are those of each turn."""

    key: SessionKey
    turns: Sequence[LedgerTurn]
    places: Mapping[int, Places]


async def conversation(kept: Kept, said: ReadMessages) -> Document:
    """The turns, the oldest first; `parent` makes a tree of them. `messages` are those that a turn
    added to its parent's, None where the transcript is gone. One without a session has none."""
    known = {turn.id: turn for turn in kept.turns}
    documents: list[Document] = []
    calls: dict[int, dict[str, Document]] = {}
    for turn in kept.turns:
        parent = known.get(turn.parent_id) if turn.parent_id is not None else None
        messages = await _heard(turn, parent, kept.places, said) if turn.kept else ()
        above = calls.get(parent.id, {}) if parent else {}
        told, calls[turn.id] = _told(turn.id, messages or (), above)
        documents.append({**_facts(turn, parent), "messages": None if messages is None else told})
    return {**key_document(kept.key), "turns": documents}


async def _heard(
    turn: LedgerTurn, parent: LedgerTurn | None, places: Mapping[int, Places], said: ReadMessages
) -> Sequence[Message] | None:
    try:
        if parent is None:
            return await said(turn.internal_id, turn.tip_uuid, None)
        return await _since(turn, parent, places.get(parent.id, ()), said)
    except SessionLost:
        return None


async def _since(
    turn: LedgerTurn, parent: LedgerTurn, places: Places, said: ReadMessages
) -> Sequence[Message]:
    """What a turn added. It may have begun before its parent's end, at one of its places; or in a
    transcript of its own, which tells all of the conversation under entries of its own."""
    new = await said(turn.internal_id, turn.tip_uuid, parent.tip_uuid)
    if turn.internal_id == parent.internal_id:
        return new
    whole = await said(turn.internal_id, turn.tip_uuid, None)
    entries = [entry for _, entry in places if entry != parent.tip_uuid]
    tries = [new, *[await said(turn.internal_id, turn.tip_uuid, entry) for entry in entries]]
    shortest = min(tries, key=len)
    if len(shortest) < len(whole):
        return shortest
    hashes = {parent.history_hash, *(hash_ for hash_, _ in places)}
    return await asyncio.to_thread(_after, whole, hashes)


def _after(whole: Sequence[Message], hashes: set[str]) -> Sequence[Message]:
    """What follows the last place that has one of these hashes; all of it where none has."""
    try:
        links = chain(whole)
    except ValueError:  # a block that only the CLI writes
        return whole
    known = [place for place, link in enumerate(links, 1) if link.hash in hashes]
    return [link.message for link in links[max(known, default=0) :]]


def _facts(turn: LedgerTurn, parent: LedgerTurn | None) -> Document:
    return {
        "id": turn.id,
        "parent": parent.id if parent else None,
        "session": turn.internal_id,
        "plan": turn.plan,
        "reason": turn.reason,
        "process": turn.process,
        "status": turn.status,
        "api": turn.api,
        "model": turn.model,
        **asdict(turn.usage),
        "cost_usd": turn.cost_usd,
        "started_at": turn.started_at,
        "ttft_ms": turn.ttft_ms,
        "duration_ms": turn.duration_ms,
    }


def _told(
    turn: int, messages: Sequence[Message], above: Mapping[str, Document]
) -> tuple[list[Document], dict[str, Document]]:
    """The messages, and every call so far by its id. A result goes to its call, which may be in a
    turn above; there it says which turn brought it."""
    calls = dict(above)
    told: list[Document] = []
    for message in messages:
        blocks: list[Document] = []
        for block in message.blocks:
            shown = _block(block)
            if shown["type"] == "result" and (call := calls.get(shown["id"])):
                call["results"].append({**shown, "turn": turn})
                continue
            if shown["type"] == "call":
                calls[shown["id"]] = shown
            blocks.append(shown)
        if blocks:
            told.append({"role": message.role, "blocks": blocks})
    return told, calls


def _block(block: Block) -> Document:
    match block["type"]:
        case "text":
            return {"type": "text", "text": str(block.get("text", ""))}
        case "thinking":
            return {"type": "thinking", "text": str(block.get("thinking", ""))}
        case "redacted_thinking":
            return {"type": "thinking", "text": None}
        case "tool_use":
            return _call(block)
        case "tool_result":
            return _result(block)
        case "image" | "document" as kind:
            return {"type": kind, **_source(block.get("source"))}
        case kind:
            return {"type": "other", "kind": str(kind)}


def _call(block: ToolUseBlock) -> Document:
    given = json.dumps(block.get("input"), indent=2, ensure_ascii=False)
    return {
        "type": "call",
        "id": str(block.get("id")),
        "name": str(block.get("name")),
        "input": given,
        "results": [],
    }


def _result(block: ToolResultBlock) -> Document:
    return {
        "type": "result",
        "id": str(block.get("tool_use_id")),
        "error": bool(block.get("is_error")),
        "blocks": [_block(part) for part in parts_of(block)],
    }


def _source(source: object) -> Document:
    """What stands in for a picture or document: its kind and size, never its content."""
    if not isinstance(source, Mapping):
        return {"media_type": None, "bytes": None}
    data = source.get("data")
    size = len(data) * 3 // 4 if isinstance(data, str) else None
    return {"media_type": source.get("media_type"), "bytes": size}
