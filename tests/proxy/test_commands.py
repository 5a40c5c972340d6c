"""The commands of mitmproxy's console, called as it calls them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.model import SessionKey
from sessionbridge.proxy.console_commands import status
from sessionbridge.sessions.planning.memory import key_lock
from sessionbridge.sessions.store.places import Home
from sessionbridge.sessions.store.sqlite.locks import FileLocks
from sessionbridge.sessions.store.store import SessionStore
from tests.support.addon_fixtures import KEYED, Proxy, make_flow, proxy
from tests.support.dashboard_fixtures import BUSY
from tests.support.turn_records import turn

__all__ = ["proxy"]

OURS = {"sessionbridge.status", "sessionbridge.sessions", "sessionbridge.forget"}


def execute(proxy: Proxy, line: str) -> Any:
    name, *arguments = line.split()
    return proxy.context.master.commands.call_strings(name, arguments)


def known(proxy: Proxy, *ids: str, scope: str = "openclaw") -> SessionStore:
    store = SessionStore.open(Home(proxy.settings.home).database)
    for id_ in ids:
        store.commit(turn(key=SessionKey(scope, id_, "claude"), internal_id=f"s-{id_}"))
    return store


async def told(proxy: Proxy, line: str, caplog: pytest.LogCaptureFixture) -> str:
    """What the event log says in answer."""
    caplog.set_level(logging.INFO)
    caplog.clear()
    assert execute(proxy, line) is None
    await asyncio.gather(*proxy.addon.commands._telling)
    return "\n".join(record.getMessage() for record in caplog.records)


async def test_each_has_help(proxy: Proxy) -> None:
    commands = proxy.context.master.commands.commands
    assert {name for name in commands if name.startswith("sessionbridge.")} == OURS
    assert all(commands[name].help for name in OURS)


async def test_status_counts_what_is_under_way(proxy: Proxy) -> None:
    assert execute(proxy, "sessionbridge.status").startswith("turns: 0 running, 0 waiting")
    assert status(BUSY) == (
        "turns: 1 running, 3 waiting · Claude processes: 5 and 2 ready for new conversations"
    )
    await proxy.request(make_flow(KEYED))
    (live,) = proxy.addon.admin.state().turns
    assert (live.platform, live.external_id, live.api) == ("sessionbridge", "chat-1", "messages")


async def test_sessions_are_listed(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    assert "No conversation" in await told(proxy, "sessionbridge.sessions", caplog)
    known(proxy, "chat-1", "chat-2").close()
    listed = await told(proxy, "sessionbridge.sessions", caplog)
    assert "openclaw/chat-1" in listed and "openclaw/chat-2" in listed


async def test_a_conversation_is_forgotten_with_its_transcript(
    proxy: Proxy, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    store = known(proxy, "chat-1", "chat-2")
    dispatcher = proxy.addon.runtime.default.dispatcher
    transcript = dispatcher._profile.transcript("s-chat-1")
    transcript.parent.mkdir(parents=True)
    transcript.touch()
    assert "Forgotten: openclaw/chat-1" in await told(proxy, "sessionbridge.forget chat-1", caplog)
    assert [one.key.external_id for one in store.sessions()] == ["chat-2"]
    assert not transcript.exists()
    # Its turns are in the ledger still.
    assert "No conversation" in await told(proxy, "sessionbridge.forget chat-1", caplog)
    store.close()


async def test_it_waits_for_the_turn_under_way(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Whose commit would bring back what was forgotten."""
    locks, key = proxy.addon.runtime.locks, SessionKey("openclaw", "chat-1", "claude")
    assert isinstance(locks, FileLocks)
    for name in (key_lock(key), "s-chat-1"):
        store = known(proxy, "chat-1")
        async with locks.hold(name, lambda: None):
            (own,) = locks.folder.glob("*.0")
            forgetting = asyncio.create_task(told(proxy, "sessionbridge.forget chat-1", caplog))
            async with asyncio.timeout(20):
                # No event tells that somebody is in line.
                while not own.with_suffix(".1").exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert len(store.sessions()) == 1
        assert "Forgotten" in await forgetting
        assert store.sessions() == []
        store.close()


async def test_which_one_is_asked_where_there_are_several(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    known(proxy, "chat-1").close()
    store = known(proxy, "chat-1", scope="goclaw")
    said = await told(proxy, "sessionbridge.forget chat-1", caplog)
    assert "goclaw/chat-1" in said and "openclaw/chat-1" in said
    assert len(store.sessions()) == 2
    store.close()
    assert "No conversation" in await told(proxy, "sessionbridge.forget nobody", caplog)


async def test_without_a_map_it_says_so(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SESSIONBRIDGE_MAPPER", "0")
    proxy.set(sessionbridge_retries=1)
    assert "switched off" in await told(proxy, "sessionbridge.sessions", caplog)
