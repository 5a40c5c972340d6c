"""One answer with thoughts, text and two calls at once, as our own encoders write it for each API;
what clients of these APIs have sent; and JSON that has their words in places where they do not
belong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from sessionbridge import apis
from sessionbridge.apis import SHAPES
from sessionbridge.apis.common.reading import call, text, thinking
from sessionbridge.apis.common.shape import Encoder
from sessionbridge.model import (
    Block,
    Finished,
    Said,
    Started,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    ToolCall,
    ToolInput,
    Usage,
)
from sessionbridge.traffic.reading import Reading, api_of, read

CAPTURED = Path(__file__).parent.parent / "captured"
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
ASKED: dict[str, dict[str, Any]] = {
    "messages": {
        "model": "m",
        "max_tokens": 2048,
        "messages": [{"role": "user", "content": "Hi"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": name, "input_schema": SCHEMA} for name in ("look", "other")],
    },
    "chat": {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [
            {"type": "function", "function": {"name": name, "parameters": SCHEMA}}
            for name in ("look", "other")
        ],
        "stream_options": {"include_usage": True},
    },
    "responses": {
        "model": "m",
        "input": "Hi",
        "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [
            {"type": "function", "name": name, "parameters": SCHEMA} for name in ("look", "other")
        ],
    },
    "ollama": {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "think": True,
        "tools": [
            {"type": "function", "function": {"name": name, "parameters": SCHEMA}}
            for name in ("look", "other")
        ],
    },
}
STOPS = {
    "messages": "tool_use",
    "chat": "tool_calls",
    "responses": "completed",
    "ollama": "stop",
}
# Chat Completions has no word for what was written to the cache: those tokens count as input. To
# Ollama all of the prompt is one count.
USAGES = {
    "messages": Usage(10, 7, 20, 30),
    "chat": Usage(30, 7, 0, 30),
    "responses": Usage(10, 7, 20, 30),
    "ollama": Usage(60, 7),
}
TEXT = f"Hello{chr(0x2028)} 🙂 you"
DELTAS: list[Said] = [
    ThinkingDelta(0, "hm, "),
    ThinkingDelta(0, "well"),
    ThinkingSignature(0, "c2ln"),
    *(TextDelta(1, letter) for letter in TEXT),
    ToolCall(2, "toolu_1", "look"),
    ToolInput(2, '{"at": '),
    ToolInput(2, '"é"}'),
    ToolCall(3, "toolu_2", "other"),
]


def answer_blocks(api: str) -> tuple[Block, ...]:
    thoughts = [] if api == "chat" else [thinking("hm, well")]
    calls = [call("toolu_1", "look", {"at": "é"}), call("toolu_2", "other", {})]
    return (*thoughts, text(TEXT), *calls)


def encoder(api: str, *, stream: bool) -> Encoder:
    body = json.dumps(ASKED[api] | {"stream": stream}).encode()
    return SHAPES[api].encoder(SHAPES[api].parse(body))


def encoded(api: str, deltas: Sequence[Said] = DELTAS, *, stream: bool) -> bytes:
    encode = encoder(api, stream=stream)
    parts = [encode.delta(Started("msg_01ab", "claude-x", Usage(10, 1, 20, 30))), encode.ping()]
    parts += [encode.delta(delta) for delta in deltas]
    finished = Finished("session", ("entry",), "tool_use", Usage(10, 7, 20, 30), 0.01)
    return b"".join((*parts, encode.close(finished)))


def events(*values: dict[str, Any]) -> bytes:
    return b"".join(f"data: {json.dumps(value)}\r\n\r\n".encode() for value in values)


def read_stream(api: str, stream: bytes) -> Reading:
    return read(api, None, stream, "text/event-stream; charset=utf-8")


def captured() -> Iterator[Any]:
    for path in sorted(CAPTURED.glob("*.json")):
        record = json.loads(path.read_text())
        sides = {f"side {i}": side for i, side in enumerate(record.get("side_calls", []))}
        for name, sent in {**record, **sides}.items():
            if isinstance(sent, dict) and api_of(sent.get("path", "")):
                yield pytest.param(sent, id=f"{path.stem} {name}")


RECORDED = list(captured())
_READERS = Path(apis.__file__).parent.glob("*/reading.py")
_WORDS = sorted({w for file in _READERS for w in re.findall(r'"([a-z_.]+)"', file.read_text())})
_leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(_WORDS)
)
confused = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=6)
    ),
    max_leaves=40,
)
"""Any JSON, of the words the readers know."""
