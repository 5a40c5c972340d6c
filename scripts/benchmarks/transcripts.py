"""The lines that the CLI adds to a transcript in a usual turn: an ask of 300 characters, and an
answer of 1,500. Frames are those of 2.1.332, texts are from this project's documentation, because
what is kept of a turn depends on how well its words can be compressed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any
from uuid import UUID

from tests.support.documents import DOCS

_ASK, _ANSWER = 300, 1_500

_USER: dict[str, Any] = {
    "isSidechain": False,
    "type": "user",
    "permissionMode": "default",
    "promptSource": "sdk",
    "queueSkipSlashCommands": True,
    "sentAtMs": 1796043582850,
    "rowSource": "local",
    "turnOrigin": "sdk",
    "queueSkipAttachments": True,
}
_ASSISTANT: dict[str, Any] = {
    "isSidechain": False,
    "apiBlockIndex": 0,
    "requestedModel": "claude-sonnet-4-5",
    "promptCacheRequested": "5m",
    "type": "assistant",
    "perTurnEffort": None,
    "madeBy": "model",
}
_USAGE: dict[str, Any] = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 40,
    "cache_read_input_tokens": 300,
    "output_tokens": 375,
    "output_tokens_details": {"thinking_tokens": 0},
    "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
    "service_tier": "standard",
    "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 40},
    "inference_geo": "",
    "iterations": [],
    "speed": "standard",
    "fallback_credit": None,
}
_PLACE = {
    "userType": "external",
    "entrypoint": "sdk-py",
    "cwd": "/var/lib/sessionbridge/work/claude",
    "version": "2.1.332",
    "gitBranch": "HEAD",
}


def lines_of_turn(session: str, number: int) -> bytes:
    """The same each time they are asked for."""
    entries = _lines(session, number, random.Random(f"{session} {number}"))
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def _lines(session: str, number: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    asked, answered, prompt = (str(UUID(int=chance.getrandbits(128))) for _ in range(3))
    placed = {"timestamp": f"2026-11-30T12:{number % 60:02}:42.850Z", "sessionId": session}
    for operation in ("enqueue", "dequeue"):
        yield {"type": "queue-operation", "operation": operation, **placed}
    user = {"role": "user", "content": [{"type": "text", "text": _text(_ASK, chance)}]}
    yield {
        "parentUuid": str(UUID(int=chance.getrandbits(128))),
        "promptId": prompt,
        "message": user,
        "uuid": asked,
        "turnPosition": {"promptIndex": 0, "turnIndex": number},
        "turnAttributionKey": asked,
        **(_USER | placed | _PLACE),
    }
    answer = {
        "type": "message",
        "role": "assistant",
        "id": f"msg_{chance.getrandbits(96):024x}",
        "model": "claude-sonnet-4-5",
        "usage": _USAGE,
        "content": [{"type": "text", "text": _text(_ANSWER, chance)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
    }
    yield {
        "parentUuid": asked,
        "message": answer,
        "uuid": answered,
        **(_ASSISTANT | placed | _PLACE),
    }


def _text(length: int, chance: random.Random) -> str:
    words = _words()
    begin = chance.randrange(len(words) - length)
    return words[begin : begin + length]


@cache
def _words() -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted(DOCS.glob("*.md")))
