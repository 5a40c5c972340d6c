"""A CLI that fails while the database that nodes share is away as well."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sessionbridge.claude.pool.dispatcher import ClaudeDispatcher
from sessionbridge.claude.pool.pool import Keep
from sessionbridge.errors import ClaudeFailed
from sessionbridge.sessions.store.postgres.place import Postgres as Place
from sessionbridge.sessions.store.store_thread import StoreThread
from tests.support.claude_cli import answer, children, fake_cli, isolated, job, profile
from tests.support.proxy import free_port


async def test_it_is_the_failure_of_the_cli_that_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inherited = isolated(monkeypatch, tmp_path)
    failing = profile(tmp_path, inherited, cli=fake_cli(tmp_path), extra={"FAKE_CLI": "exit_3"})
    url = f"postgresql://bridge@127.0.0.1:{free_port()}/bridge"
    with closing(Place(url)) as place, closing(StoreThread(place)) as store:
        dispatcher = ClaudeDispatcher(failing, Keep(), shared=store)
        for memory in ("session", "none"):
            with pytest.raises(ClaudeFailed):
                await answer(dispatcher, job("Hello", memory=memory))
        await dispatcher.close()
    assert children() == []
