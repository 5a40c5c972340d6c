"""Who asks is told by a token, which nothing behind that sees."""

from __future__ import annotations

from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addons.proxyauth import ProxyAuth
from mitmproxy.http import HTTPFlow

from sessionbridge.allowances import ClientRules
from sessionbridge.client_tokens import PREFIX, made
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.turns.exchange import Exchange
from tests.support.addon_fixtures import KEYED, Proxy, is_bridged, make_flow, proxy, refusal
from tests.support.known_clients import add_client

__all__ = ["proxy"]

REAL_KEY = "sk-ant-a-real-key"


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


WAYS = [
    lambda token: {"authorization": f"Bearer {token}"},
    lambda token: {"authorization": token},
    lambda token: {"authorization": basic("anybody", token)},
    lambda token: {"authorization": basic(token, "")},
    lambda token: {"x-api-key": token},
    lambda token: {"api-key": f" {token} "},
    lambda token: {"x-sessionbridge-token": token, "x-api-key": REAL_KEY},
    lambda token: {"proxy-authorization": basic("anybody", token)},
    lambda token: {"proxy-authorization": basic(token, "")},
    lambda token: {"x-api-key": token, "authorization": f"Bearer {token}"},
]


def exchange(proxy: Proxy) -> Exchange:
    return proxy.exchanges[-1]


def said(flow: HTTPFlow) -> tuple[int, str]:
    status, document = refusal(flow)
    return status, document["error"]["message"]


def holds(flow: HTTPFlow, token: str) -> bool:
    """Whether anything that is saved or shown of the flow has the token, in whatever coding."""
    secret = token[-30:]
    coded = {b64encode(b"x" * n + secret.encode() * 2)[8:-48].decode() for n in range(3)}
    return any(part in repr(flow.get_state()) for part in {secret, *coded})


@pytest.fixture
def home(proxy: Proxy) -> Path:
    return proxy.settings.home


@pytest.fixture
def token(home: Path) -> str:
    return add_client(home, "ann", ClientRules(turns_at_once=7))


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_is_known_however_it_sends_its_token(
    proxy: Proxy, token: str, way: Any
) -> None:
    flow = make_flow({**KEYED, **way(token)})
    assert holds(flow, token)
    assert is_bridged(await proxy.request(flow))
    assert not holds(flow, token)
    found = exchange(proxy)
    assert (found.attempt.client, found.rules.turns_at_once) == ("ann", 7)
    assert found.origin is not None
    assert found.origin.scope.startswith("ann:")


async def test_nobody_who_is_known_is_as_before(proxy: Proxy, token: str) -> None:
    for headers in ({}, {"x-api-key": REAL_KEY}, {"authorization": f"Bearer {PREFIX[:-1]}"}):
        flow = await proxy.request(make_flow({**KEYED, **headers}))
        assert is_bridged(flow)
        found = exchange(proxy)
        assert found.attempt.client == ""
        assert found.origin is not None and ":" not in found.origin.scope
        assert headers.items() <= dict(flow.request.headers).items()


async def test_what_a_client_has_begun_outlives_its_token(
    proxy: Proxy, home: Path, token: str
) -> None:
    await proxy.request(make_flow({**KEYED, "x-api-key": token}))
    before = exchange(proxy).attempt.caller
    text, kept = made()
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.rotate_client("ann", kept)
    assert said(await proxy.request(make_flow({**KEYED, "x-api-key": token})))[0] == 401
    await proxy.request(make_flow({**KEYED, "authorization": f"Bearer {text}"}))
    assert exchange(proxy).attempt.caller == before
    await proxy.request(make_flow({**KEYED, "x-api-key": "ann"}))
    assert exchange(proxy).attempt.caller != before


async def test_wrong_tokens(proxy: Proxy, home: Path, token: str) -> None:
    other = add_client(home, "bob")
    crossed = token[: len(PREFIX) + 9] + other[len(PREFIX) + 9 :]
    for wrong in (token[:-1], crossed, made()[0], PREFIX, f"{token}x"):
        flow = await proxy.request(make_flow({**KEYED, "x-api-key": wrong}))
        status, message = said(flow)
        assert status == 401
        assert "none of a client of this proxy" in message
        assert wrong == PREFIX or not holds(flow, wrong)
        proxy.addon.clients._wrong._failed.clear()
    assert proxy.exchanges == []
    assert proxy.addon.errors.counts["Unauthorized"] == 5


async def test_anything_in_our_own_header_is_meant_as_a_token(proxy: Proxy, token: str) -> None:
    flow = await proxy.request(make_flow({**KEYED, "x-sessionbridge-token": "let-me-in"}))
    assert said(flow)[0] == 401
    assert is_bridged(await proxy.request(make_flow({**KEYED, "x-sessionbridge-token": " "})))


async def test_a_revoked_one_is_told_so(proxy: Proxy, home: Path, token: str) -> None:
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.revoke_client("ann")
    status, message = said(await proxy.request(make_flow({**KEYED, "x-api-key": token})))
    assert status == 401
    assert "ann was revoked" in message


async def test_two_that_disagree(proxy: Proxy, home: Path, token: str) -> None:
    other = add_client(home, "bob")
    twice = make_flow({**KEYED, "x-api-key": token})
    twice.request.headers.add("x-api-key", other)
    apart = make_flow({**KEYED, "x-api-key": token, "x-sessionbridge-token": other})
    of_proxy = make_flow(
        {**KEYED, "x-api-key": token, "proxy-authorization": basic("a", made()[0])}
    )
    for flow in (twice, apart, of_proxy):
        status, message = said(await proxy.request(flow))
        assert status == 401
        assert "two tokens" in message
        assert not holds(flow, token)
        assert not holds(flow, other)


@pytest.mark.parametrize(
    "path", ["/v1/messages?key={}", "/s/{}/v1/messages", "/v1/{}/x", "/v1/messages?k={}&key=1"]
)
@pytest.mark.parametrize("host", ["api.anthropic.com", "example.com"])
async def test_one_in_an_address_is_kept_nowhere(
    proxy: Proxy, token: str, path: str, host: str
) -> None:
    for spelled in (token, token.replace("-", "%2d")):
        flow = make_flow(KEYED, path=path.format(spelled).encode(), host=host)
        status, message = said(await proxy.request(flow))
        assert status == 400
        assert "rotate it" in message
        assert not holds(flow, token)


@pytest.mark.parametrize("name", ["x-sessionbridge-session", "cookie", "proxy-authorization"])
@pytest.mark.parametrize("host", ["api.anthropic.com", "example.com"])
async def test_one_in_a_header_that_is_not_for_it_is_kept_nowhere(
    proxy: Proxy, token: str, name: str, host: str
) -> None:
    flow = make_flow({**KEYED, name: f"key {token}; a=b"}, host=host)
    status, message = said(await proxy.request(flow))
    assert status == 400
    assert f"The header {name} holds" in message
    assert not holds(flow, token)


async def test_the_api_learns_no_token(proxy: Proxy, token: str) -> None:
    for headers in ({"x-api-key": token}, {"authorization": f"Bearer {token}"}):
        for host in ("api.anthropic.com", "example.com"):
            flow = make_flow({**headers, "host": host}, host=host)
            status, message = said(await proxy.request(flow))
            assert status == 403
            assert host in message
    beside = make_flow({"x-api-key": REAL_KEY, "x-sessionbridge-token": token})
    await proxy.request(beside)
    assert beside.response is None and not is_bridged(beside)
    assert beside.request.headers["x-api-key"] == REAL_KEY
    assert not holds(beside, token)


async def test_a_body_that_is_not_waited_for_takes_no_token_along(proxy: Proxy, token: str) -> None:
    proxy.set(stream_large_bodies="1")
    flow = make_flow({"x-api-key": token}, host="example.com")
    await proxy.requestheaders(flow)
    assert not flow.request.stream
    assert not holds(flow, token)


async def test_the_password_of_the_proxys_user(proxy: Proxy, token: str) -> None:
    """For https it comes once, with the tunnel."""
    tunnel = make_flow({"proxy-authorization": basic("my-chat", token)}, method=b"CONNECT")
    proxy.http_connect(tunnel)
    assert not holds(tunnel, token)  # also where it is refused, and shown
    proxy.http_connected(tunnel)
    flow = make_flow()
    flow.client_conn = tunnel.client_conn
    assert is_bridged(await proxy.request(flow))
    found = exchange(proxy)
    assert found.origin is not None
    assert (found.origin.scope, found.origin.external_id) == ("ann:proxy-user", "my-chat")


async def test_a_clients_own_name_is_no_conversation(proxy: Proxy, token: str) -> None:
    flow = await proxy.request(make_flow({"proxy-authorization": basic("ann", token)}))
    assert flow.response is None and not is_bridged(flow)
    assert not holds(flow, token)
    keyed = await proxy.request(make_flow({**KEYED, "proxy-authorization": basic("ann", token)}))
    assert is_bridged(keyed)
    assert exchange(proxy).attempt.client == "ann"


async def test_beside_proxyauth(proxy: Proxy, token: str) -> None:
    """mitmproxy takes the header away then, and notes in the flow what was in it."""
    proxy.context.master.addons.add(ProxyAuth())
    proxy.set(proxyauth="any")
    flow = make_flow()
    flow.metadata["proxyauth"] = "my-chat", token
    assert is_bridged(await proxy.request(flow))
    assert not holds(flow, token)
    assert exchange(proxy).attempt.client == "ann"
    proxy.set(proxyauth="me:secret")
    flow = make_flow(KEYED)
    flow.metadata["proxyauth"] = "me", "secret"
    assert is_bridged(await proxy.request(flow))
    assert exchange(proxy).attempt.client == ""


async def test_this_machine_may_have_to_say_who_asks(proxy: Proxy, token: str) -> None:
    proxy.set(sessionbridge_require_token=True)
    status, message = said(await proxy.request(make_flow(KEYED)))
    assert status == 401
    assert "sessionbridge clients add NAME" in message
    assert is_bridged(await proxy.request(make_flow({**KEYED, "x-api-key": token})))
    passing = await proxy.request(make_flow())
    assert passing.response is None and not is_bridged(passing)


async def test_another_machine_that_is_not_let_in_is_not_asked_who_it_is(
    proxy: Proxy, home: Path, token: str
) -> None:
    for sent in (token, made()[0]):
        flow = make_flow({**KEYED, "x-api-key": sent})
        flow.client_conn.peername = ("192.0.2.7", 50000)
        status, message = said(await proxy.request(flow))
        assert status == 403
        assert "sessionbridge_allow_remote" in message
        assert not holds(flow, sent)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/responses/resp_sb1"), ("POST", "/v1/conversations"), ("GET", "/v1/models")],
)
async def test_so_for_all_that_is_answered_here(
    proxy: Proxy, token: str, method: str, path: str
) -> None:
    proxy.set(sessionbridge_require_token=True, sessionbridge_upstream=False)
    fields: Any = {"method": method.encode(), "path": path.encode(), "host": "api.openai.com"}
    assert said(await proxy.request(make_flow(content=b"", **fields)))[0] == 401


async def test_a_replayed_flow_is_still_its_clients(proxy: Proxy, home: Path, token: str) -> None:
    flow = await proxy.request(make_flow({**KEYED, "x-api-key": token}))
    proxy.error(flow)
    again = make_flow(KEYED)
    again.metadata = {**flow.metadata}
    again.is_replay = "request"
    assert is_bridged(await proxy.request(again))
    assert exchange(proxy).attempt.client == "ann"
    with closing(SessionStore.open(home / DATABASE_NAME)) as store:
        store.revoke_client("ann")
    once_more = make_flow(KEYED)
    once_more.metadata = {**flow.metadata}
    once_more.is_replay = "request"
    assert said(await proxy.request(once_more))[0] == 401


async def test_without_a_database_nobody_is_known(
    proxy: Proxy, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSIONBRIDGE_MAPPER", "0")
    proxy.set(sessionbridge_retries=1)
    status, message = said(await proxy.request(make_flow({**KEYED, "x-api-key": token})))
    assert status == 503
    assert "SESSIONBRIDGE_MAPPER" in message
    assert is_bridged(await proxy.request(make_flow(KEYED)))
