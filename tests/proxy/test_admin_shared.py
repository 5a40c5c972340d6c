"""What the operator of a node forgets, where nodes share a database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionbridge.errors import StoreUnavailable
from sessionbridge.proxy.admin import Admin
from sessionbridge.turns.runtime import Runtime
from tests.support.bridge_fixtures import SETTINGS
from tests.support.claude_cli import isolated
from tests.support.postgres_stores import REFUSES_DELETES, asked
from tests.support.turn_records import KEY, turn


@pytest.fixture
def runtime(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    isolated(monkeypatch, tmp_path)
    made = Runtime()
    made.walk(SETTINGS.model_copy(update={"home": tmp_path, "store": database}))
    yield made
    made.close()


async def test_all_of_it_is_forgotten_or_nothing(runtime: Runtime, database: str) -> None:
    admin = Admin(runtime, lambda: ())
    assert runtime.store is not None
    transcript = runtime.default.dispatcher._profile.transcript("session-1")
    transcript.parent.mkdir(parents=True)
    transcript.write_text('{"uuid": "tip"}\n')
    await runtime.store.commit(turn())
    kept = "SELECT name FROM sessionbridge.files"
    assert asked(database, kept) == [("session-1.jsonl",)]
    asked(database, REFUSES_DELETES)
    with pytest.raises(StoreUnavailable, match="No room"):
        await admin.forget(KEY.external_id)
    assert len(await admin.sessions()) == 1 and transcript.exists()
    asked(database, "DROP TRIGGER is_full ON sessionbridge.files")
    assert await admin.forget(KEY.external_id) == [KEY]
    assert asked(database, kept) == [] and not transcript.exists()
    assert await admin.sessions() == []
