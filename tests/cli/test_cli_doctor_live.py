"""`sessionbridge doctor --live`: turns through a proxy that runs, in either mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from sessionbridge.cli.checks.live import check_live
from sessionbridge.cli.mitm import CA_NAME
from sessionbridge.client_tokens import made
from sessionbridge.sessions.store.store import SessionStore
from tests.support.doctor_fixtures import Place, ca, place
from tests.support.known_clients import add_client
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer

__all__ = ["ca", "place"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    modes = ("--mode", f"regular@{free_port()}", "--mode", f"reverse:{api.url}@{free_port()}")
    with running_proxy(tmp_path_factory.mktemp("live"), api.url, *modes) as running:
        yield running


@pytest.mark.parametrize("mode", [0, 1], ids=["regular", "reverse"])
def test_two_turns_show_that_it_remembers(proxy: Proxy, place: Place, mode: int) -> None:
    place.port = proxy.ports[mode]
    place.confdir = proxy.home / "mitm"
    found = place.findings("--live", "2")
    assert found["Live turn"]["status"] == found["Live memory"]["status"] == "ok"
    assert ", $0.0" in found["Live turn"]["found"]
    assert "knew the first: resume " in found["Live memory"]["found"]
    assert proxy.connected_hosts() <= {"127.0.0.1"}


def test_a_clients_token_is_in_the_environment(
    proxy: Proxy, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.port, token = proxy.ports[1], add_client(proxy.database.parent, "ann")
    for wrong in ("my-token", f"{token}\nThis is the token of ann."):
        monkeypatch.setenv("SESSIONBRIDGE_TOKEN", wrong)
        assert "SESSIONBRIDGE_TOKEN is no token" in place.findings("--live")["Live turn"]["found"]
    monkeypatch.setenv("SESSIONBRIDGE_TOKEN", made()[0])
    refused = place.findings("--live")["Live turn"]
    assert refused["found"].startswith("401: ") and "SESSIONBRIDGE_TOKEN" in refused["advice"]
    monkeypatch.setenv("SESSIONBRIDGE_TOKEN", f"{token}\r\n")
    assert place.findings("--live")["Live turn"]["status"] == "ok"
    with closing(SessionStore.open(proxy.database)) as store:
        assert "ann" in {row.key.client for row in store.sessions()}


def test_without_the_option_no_model_is_called(
    proxy: Proxy, place: Place, api: ScriptedServer
) -> None:
    place.port, before = proxy.ports[0], len(api.calls)
    assert not {"Live turn", "Live memory"} & set(place.findings())
    assert len(api.calls) == before


def test_what_stands_in_the_way_is_said(proxy: Proxy, tmp_path: Path, api: ScriptedServer) -> None:
    ca_file = proxy.home / "mitm" / CA_NAME
    (none,) = check_live(free_port(), ca_file, 1)
    assert "Nothing answers at port" in none.found
    (other,) = check_live(proxy.ports[0], tmp_path / CA_NAME, 1)
    assert "no certificate in" in other.found
    with api.forgetful():
        turn, memory = check_live(proxy.ports[1], ca_file, 2)
    assert (turn.status, memory.status) == ("ok", "problem")
    assert "SESSIONBRIDGE_MAPPER" in memory.advice
    assert all(asdict(one)["advice"] for one in (none, other, memory))
