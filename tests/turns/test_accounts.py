"""What stands behind each of several Claude accounts."""

from __future__ import annotations

import asyncio
from asyncio import create_task
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionbridge.config import Settings
from sessionbridge.dashboard.state import State
from sessionbridge.errors import ConversationNotFound, StoreUnavailable
from sessionbridge.model import SessionKey
from sessionbridge.providers import Provider
from sessionbridge.proxy.admin import Admin
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.turns.account import Account
from sessionbridge.turns.exchange import Exchange, Wanted
from sessionbridge.turns.runtime import Runtime
from tests.support.bridge_fixtures import CLIENT_HELD, SERVER_HELD, ask, body, bridge
from tests.support.claude_cli import isolated, until
from tests.support.scripted_dispatcher import ScriptedDispatcher
from tests.support.turn_records import turn
from tests.test_providers import configured

CONFIG = """
[providers.key]
[providers.cloud]
config_dir = "{folder}"
"""
ASKED = Exchange("responses", None)
OF_KEY = Exchange("responses", None, wanted=Wanted(provider="key"))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    isolated(monkeypatch, tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    return configured(home, CONFIG.format(folder=tmp_path / "cloud"))


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    made = Runtime()
    made.walk(settings)
    yield made
    made.close()


def folder(account: Account) -> Path:
    assert account.conversations is not None
    return account.conversations._folder()


async def test_no_two_have_one_folder_and_none_is_there_before_it_is_asked(
    runtime: Runtime, tmp_path: Path
) -> None:
    assert list(runtime.accounts) == ["claude"]
    folders = [folder(runtime.account(name)) for name in ("claude", "key", "cloud")]
    assert list(runtime.accounts) == ["claude", "key", "cloud"]
    assert [path.parent.parent.name for path in folders] == ["config", "config", "cloud"]
    assert len({path.name for path in folders}) == 3
    work_dirs = {path.name.rpartition("-")[2] for path in folders}
    assert not work_dirs & {"key", "cloud"}  # the model is told them


async def test_a_lost_database_is_made_anew_from_what_all_have_noted(
    settings: Settings, runtime: Runtime
) -> None:
    for name in settings.providers:
        store = runtime.account(name).store
        assert store is not None
        key = SessionKey("slack", "C1", name)
        await store.commit(turn(key=key, internal_id=f"session-{name}"))
    runtime.close()
    for file in settings.home.glob(f"{DATABASE_NAME}*"):
        file.unlink()
    again = Runtime()
    again.walk(settings)
    assert again.store is not None  # the default's, which is the first that is opened
    found = await again.store.ask(SessionStore.sessions)
    assert {row.key.provider for row in found} == {"claude", "key", "cloud"}
    again.close()


async def test_a_conversation_is_found_with_the_provider_it_was_created_with(
    runtime: Runtime,
) -> None:
    kept = runtime.conversations(None, OF_KEY)
    assert kept is not None
    id_ = (await kept.create("caller", (), {}))["id"]
    found = runtime.conversations(id_, ASKED)
    assert found is not None and (await found.retrieve(id_, "caller"))["id"] == id_
    assert [path.stem for path in folder(runtime.account("key")).glob("*.conversation")] == [id_]
    assert not list(folder(runtime.default).glob("*"))
    with pytest.raises(ConversationNotFound):
        await found.retrieve(id_, "somebody else")


async def test_of_one_whose_provider_has_left_the_config_it_says_so(
    settings: Settings, runtime: Runtime
) -> None:
    kept = runtime.conversations(None, OF_KEY)
    assert kept is not None
    id_ = (await kept.create("caller", (), {}))["id"]
    left = settings.config.model_copy(update={"providers": {}})
    runtime.walk(settings.model_copy(update={"config": left}))
    found = runtime.conversations(id_, ASKED)
    assert found is not None
    with pytest.raises(ConversationNotFound, match="taken out of the config; have it put back"):
        await found.retrieve(id_, "caller")
    with pytest.raises(ConversationNotFound, match=r"not found\.$"):
        await found.retrieve("conv_sb" + "0" * 32, "caller")


async def test_what_options_leave_as_it_was_is_kept(settings: Settings, runtime: Runtime) -> None:
    before = runtime.account("key"), runtime.account("cloud")
    stores = [account.store for account in before]
    assert stores[1] is not None
    left = settings.config.model_copy(update={"providers": {"key": settings.providers["key"]}})
    runtime.walk(settings.model_copy(update={"live": 5, "config": left}))
    assert runtime.account("key").store is stores[0] and runtime.account("key") is not before[0]
    assert runtime.dispatcher("cloud") is None
    with pytest.raises(StoreUnavailable, match="has been closed"):
        await stores[1].ask(SessionStore.count)


@pytest.mark.parametrize("change", ["taken out", "moved"])
async def test_a_turn_under_way_is_kept_where_it_began(
    settings: Settings, runtime: Runtime, tmp_path: Path, change: str
) -> None:
    """The one that waits for its place as well as the one that has it."""
    account, dispatcher = runtime.account("cloud"), ScriptedDispatcher()
    own = account.settings.model_copy(update={"concurrency": 1})
    walk = bridge(own, account.store, dispatcher, dispatchers=runtime.dispatcher)
    assert (await ask(walk, body("One", system="Be brief."), SERVER_HELD)).status == 200
    dispatcher.gate = asyncio.Event()
    asked = [create_task(ask(walk, body("Other"), CLIENT_HELD))]
    await dispatcher.waiting.wait()
    asked += [create_task(ask(walk, body("Two"), SERVER_HELD))]
    await until(lambda: walk._admission.waiting_now == 1)
    left = {name: table for name, table in settings.config.providers.items() if name != "cloud"}
    if change == "moved":
        left["cloud"] = Provider(config_dir=tmp_path / "elsewhere")
    config = settings.config.model_copy(update={"providers": left})
    runtime.walk(settings.model_copy(update={"config": config}))
    dispatcher.gate.set()
    answers = await asyncio.gather(*asked)
    assert [(answer.status, answer.exchange.outcome.turn) for answer in answers] == [
        (200, 2),
        (200, 3),
    ]
    assert dispatcher.jobs[-1].system == "Be brief."
    assert account.store is not None
    with pytest.raises(StoreUnavailable, match="has been closed"):
        await account.store.ask(SessionStore.count)


def test_the_state_is_that_of_all(runtime: Runtime) -> None:
    admin = Admin(runtime, lambda: ())
    with runtime.account("key").admission.turn() as one, runtime.default.admission.turn() as other:
        one.queue_up()
        other.queue_up()
        assert admin.state() == State(turns=[], waiting=2, running=0, live=0, spares=0)
