"""Whatever its requests name, none of two clients, and nobody without a token, ever comes to what
another has: the parts that read a request, and a real database."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy.http import HTTPFlow

from sessionbridge.claude.work_dirs import DEFAULT
from sessionbridge.errors import BridgeError
from sessionbridge.model import Attempt, Origin, SessionKey
from sessionbridge.proxy.clients import Clients
from sessionbridge.proxy.http_message import lowered
from sessionbridge.proxy.proxy_user import ProxyUser, with_user
from sessionbridge.sessions.origins.table import Origins
from sessionbridge.sessions.store.places import DATABASE_NAME
from sessionbridge.sessions.store.queries import given_to
from sessionbridge.sessions.store.store import SessionStore
from sessionbridge.turns.request_meta import attempt
from sessionbridge.turns.runtime import Runtime
from tests.support.addon_fixtures import make_flow
from tests.support.bridge_fixtures import SETTINGS
from tests.support.known_clients import add_client

ORIGINS = Origins.default()
HEADERS = sorted({name for rule in ORIGINS.rules for name in rule.header} - {"proxy-authorization"})
FIELDS = sorted({path for rule in ORIGINS.rules for path in rule.body})
CLIENTS = ["ann", "bob", ""]
IDS = ["chat-1", "ann", "ann:openclaw", "openclaw", "bob/chat-1", "a\u00e4:1", "agent:main:x:1"]
KEYS = ["sk-ant-1", "Bearer sk-1", "ann", "client ann"]
WAYS = ["authorization", "x-api-key", "api-key", "x-sessionbridge-token", "proxy-authorization"]


class Request(NamedTuple):
    asking: str
    way: str
    headers: dict[str, str]
    fields: dict[str, str]
    user: str
    key: str | None


class Asked(NamedTuple):
    origin: Origin | None
    attempt: Attempt


type Place = tuple[str, str] | None
"""What a request names, whoever asks."""

REQUESTS = st.builds(
    Request,
    asking=st.sampled_from(CLIENTS),
    way=st.sampled_from(WAYS),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(IDS), max_size=4),
    fields=st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(IDS), max_size=2),
    user=st.sampled_from(["", "ann", "bob", "-", "chat-1"]),
    key=st.none() | st.sampled_from(KEYS),
)


class House:
    """What clients have is kept under their keys, as turns keep it."""

    def __init__(self, home: Path) -> None:
        self.tokens = {name: add_client(home, name) for name in CLIENTS if name}
        self.store = SessionStore.open(home / DATABASE_NAME)
        self.runtime = Runtime()
        folder = {"CLAUDE_CONFIG_DIR": str(home / "claude")}
        self.runtime.walk(SETTINGS.model_copy(update={"home": home, "claude_env": folder}))
        self.clients, self.users = Clients(self.runtime), ProxyUser()
        self.runner = asyncio.Runner()
        self.begun: defaultdict[Place, dict[str, Asked]] = defaultdict(dict)

    def close(self) -> None:
        self.runner.close()
        self.store.close()
        self.runtime.close()

    def asked(self, request: Request) -> Asked:
        flow = self.flow(request)
        self.clients.requestheaders(flow)
        self.users.requestheaders(flow)
        self.runner.run(self.clients.identify(flow))
        asking = self.clients.asking(flow)
        assert asking.name == request.asking
        headers = with_user(lowered(flow.request.headers), flow)
        origin = ORIGINS.detect(headers, nested(request.fields))
        return Asked(asking.owning(origin), attempt(headers, asking.name))

    def flow(self, request: Request) -> HTTPFlow:
        headers, token = {**request.headers}, self.tokens.get(request.asking, "")
        if request.key is not None:
            headers["authorization"] = request.key
        password = token if request.way == "proxy-authorization" else "any"
        told = b64encode(f"{request.user}:{password}".encode()).decode()
        if token and request.way != "proxy-authorization":
            headers[request.way] = token
        return make_flow({**headers, "proxy-authorization": f"Basic {told}"})


def nested(fields: dict[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for path, value in fields.items():
        *parents, last = path.split(".")
        at = body
        for name in parents:
            at = at.setdefault(name, {}) if isinstance(at.get(name, {}), dict) else {}
        at[last] = value
    return body


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


@settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUESTS)
def test_no_header_leads_to_what_another_client_has(house: House, request: Request) -> None:
    try:
        asked = house.asked(request)
    except BridgeError:
        return  # an id that cannot be one
    place: Place = None
    if (origin := asked.origin) is not None:
        place = origin.platform, origin.external_id
        key = SessionKey(origin.scope, origin.external_id, DEFAULT)
        found, own = house.store.lineage(key, []).row, f"of {request.asking or 'nobody'}"
        assert found is None or found.session_id == own
        if found is None:
            house.store.set(key, own)
    for begun in (house.begun[place], house.begun[None]):
        for name, theirs in begun.items():
            if name != request.asking:
                assert not may_have(theirs, asked)
                assert not may_have(asked, theirs)
    assert may_have(asked, asked)
    house.begun[place].setdefault(request.asking, asked)


def may_have(given: Asked, asking: Asked) -> bool:
    """Whether a response that was given to the one is to be found by the other, by its id."""
    known = given.origin and Origin(
        given.origin.scope, given.origin.external_id, "conversation", "server"
    )
    return given_to(known, given.attempt.caller, asking.origin, asking.attempt.caller)
