"""Whose conversation it is, however large the body that says so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.errors import BadRequest
from sessionbridge.model import Origin
from sessionbridge.sessions.origins.rule import OriginRule
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.store_thread import StoreThread
from sessionbridge.turns.naming import Named, named
from sessionbridge.turns.runtime import Runtime
from sessionbridge.turns.worker import Worker, is_costly

MINE = Origins.default([OriginRule(name="mine", body="chat.id", kind="conversation")])
LARGE = {"messages": [{"role": "user", "content": "x" * 5_000_000}]}
SMALL = {"messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    await worker.end()


@pytest.mark.parametrize("said", [SMALL, LARGE], ids=["small", "large"])
async def test_what_a_body_names(worker: Worker, said: dict[str, Any]) -> None:
    async def ask(fields: dict[str, Any]) -> Named:
        body = json.dumps(said | fields).encode()
        assert is_costly(body) == (said is LARGE)
        return await named(MINE, {}, body, worker)

    found, previous, *_ = await ask({"chat": {"id": "chat-7"}, "previous_response_id": "resp_1"})
    assert isinstance(found, Origin) and found.external_id == "chat-7"
    assert previous == "resp_1"
    assert await ask({"previous_response_id": 7}) == Named(None, None)
    created = f"conv_sb{'0' * 32}"
    for conversation in (created, {"id": created}):
        assert (await ask({"conversation": conversation})).conversation == created
    with pytest.raises(BadRequest, match="holds a control character"):
        await ask({"chat": {"id": "a\u0001b"}})


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"[" * 5_000_000], ids=len)
async def test_a_body_that_says_nothing(worker: Worker, body: bytes) -> None:
    headers = {"x-sessionbridge-session": "chat-7"}
    found, previous, *_ = await named(MINE, headers, body, worker)
    assert found is not None and found.external_id == "chat-7" and previous is None
    assert await named(MINE, {}, body, worker) == Named(None, None, not body)


async def test_ids_that_cannot_be_looked_up_are_nobody_s(tmp_path: Path) -> None:
    runtime = Runtime()
    runtime.reports = StoreThread(Home(tmp_path))
    try:
        for broken in ("\udcff", "msg_\ud83d", "caf\xe9"):
            assert not await runtime.is_our_child({"x-claude-code-session-id": broken})
    finally:
        runtime.close()
