"""Fields of the wrong type are a `BadRequest`, whatever field and whatever type; never a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.errors import BadRequest
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.sessions.planning.references import refers
from tests.apis.test_anthropic_messages_hosted import APART, FOUND, SEARCH, TOLD
from tests.apis.test_openai_responses_hosted import RAN, item, space

ODD: list[Any] = [None, True, 5, "odd", [], [1], {}, {"a": 1}]
PATCH = {"type": "custom", "custom": {"name": "p", "format": {"type": "text"}}}
MESSAGES = [
    *(list(blocks) for blocks, _ in APART.values()),
    [SEARCH, {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}],
    [{"type": "mcp_tool_use", "id": "m_1", "name": "f", "server_name": "d", "input": {}}, TOLD],
]


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    ask = {"role": "user", "content": "Hi"}
    for blocks in MESSAGES:
        said = {"role": "assistant", "content": blocks}
        chosen = {"type": "tool", "name": "web_search"}
        tools = [{"type": "web_search_20250305", "name": "web_search"}]
        yield "messages", {"messages": [ask, said, ask], "tools": tools, "tool_choice": chosen}
    yield "messages", {"messages": [{"role": "user", "content": [FOUND]}]}
    for items, *_ in RAN.values():
        yield "responses", {"input": [ask, *items, ask]}
    brought = {"type": "additional_tools", "tools": [space("a", "x")]}
    allowed: dict[str, Any] = {"type": "allowed_tools", "mode": "auto"}
    one = {"type": "function", "name": "x", "namespace": "a"}
    choice = {**allowed, "tools": [one], "allowed_tools": {}}
    yield "responses", {"input": [brought, ask], "tool_choice": choice}
    yield "responses", {"input": [ask, item("compaction", encrypted_content="x"), ask]}
    call = {"id": "c", "type": "custom", "custom": {"name": "p", "input": "x"}}
    done = {"role": "tool", "tool_call_id": "c", "content": "ok"}
    inner = {**allowed, "allowed_tools": {"mode": "auto", "tools": [PATCH]}}
    history = [ask, {"role": "assistant", "tool_calls": [call]}, done]
    yield "chat", {"messages": history, "tools": [PATCH], "tool_choice": inner}


def spoiled(node: Any) -> Iterator[Any]:
    """The same with one value in it replaced by each odd one, or taken away."""
    for key in list(node if isinstance(node, dict) else range(len(node))):
        value = node[key]
        for odd in ODD:
            node[key] = odd
            yield
        if isinstance(node, dict):
            del node[key]
            yield
        node[key] = value
        if isinstance(value, dict | list):
            yield from spoiled(value)


@pytest.mark.parametrize(("name", "fields"), [*bodies()])
def test_no_type_is_a_crash(name: str, fields: dict[str, Any]) -> None:
    body = copy.deepcopy({"model": "m", "max_tokens": 9, **fields})
    tried = 0
    for _ in spoiled(body):
        tried += 1
        try:
            turn = SHAPES[name].parse(json.dumps(body).encode())
        except BadRequest:
            continue
        if not any(map(refers, turn.messages)):
            chain(turn.messages)
    assert tried > 50
