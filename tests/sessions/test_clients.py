"""The clients in the store, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionbridge.allowances import Budget, ClientRules
from sessionbridge.client_tokens import made
from sessionbridge.sessions.store.store import SessionStore
from tests.support.stores import ENGINES, opened_store

NOW = 1_000_000.0


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    with opened_store(request, tmp_path, lambda: NOW) as opened:
        yield opened


def test_a_client_is_found_by_the_id_of_its_token(store: SessionStore) -> None:
    _, token = made()
    rules = ClientRules(budgets=(Budget(per="day", usd=2.5),), providers=("key",), fallback=False)
    assert store.add_client("bot", token, rules)
    found = store.client_by_token(token.id)
    assert found is not None
    assert (found.name, found.token, found.rules) == ("bot", token, rules)
    assert (found.created_at, found.revoked_at) == (NOW, None)
    assert store.client("bot") == found
    assert store.client("Bot") is None
    assert store.client_by_token("") is None


def test_a_name_is_given_once(store: SessionStore) -> None:
    (_, first), (_, second) = made(), made()
    assert store.add_client("bot", first, ClientRules())
    assert not store.add_client("bot", second, ClientRules())
    assert store.revoke_client("bot")
    assert store.has_clients()
    assert not store.add_client("bot", second, ClientRules())
    assert [client.token for client in store.clients()] == [first]


def test_a_revoked_one_stays_and_a_new_token_brings_it_back(store: SessionStore) -> None:
    (_, first), (_, second) = made(), made()
    store.add_client("bot", first, ClientRules(turns_at_once=1))
    assert store.revoke_client("bot")
    revoked = store.client_by_token(first.id)
    assert revoked is not None
    assert revoked.revoked_at == NOW
    assert store.rotate_client("bot", second)
    assert store.client_by_token(first.id) is None
    rotated = store.client_by_token(second.id)
    assert rotated is not None
    assert (rotated.revoked_at, rotated.rules.turns_at_once) == (None, 1)


def test_nobody_is_revoked_or_given_a_token(store: SessionStore) -> None:
    assert not store.has_clients()
    assert not store.revoke_client("bot")
    assert not store.rotate_client("bot", made()[1])
    assert store.clients() == []


def test_they_are_listed_by_name(store: SessionStore) -> None:
    for name in ("b", "a", "C"):
        store.add_client(name, made()[1], ClientRules())
    assert [client.name for client in store.clients()] == ["C", "a", "b"]
