"""The proxy that the tests of the client's own tools share, and what they look for in it.

By default each test takes a few clients; with the environment variable `EVERY_CLIENT=1` all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from sessionbridge.cli.demo.scripted_api import Call, Reply
from tests.end_to_end.test_end_to_end import rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.responses_talks import RESPONSES
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import CHAT, MESSAGES, Client, Talk, plain
from tests.support.whole_requests import messages, shown

ALL = MESSAGES + CHAT + RESPONSES

COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
PRICES = {"claude-sonnet-5-5": (2, 10, 2.5, 0.1), "claude-opus-5-5": (4, 20, 5, 0.2)}
"""US dollars for a million tokens of each kind, of what `sonnet` and `gpt-4o` stand for."""


OPTIONS = {"live": "4", "spare": "0"}
"""No process is started ahead, so that each new one belongs to a conversation."""


def chosen[T](few: Sequence[T], every: Sequence[T]) -> Sequence[T]:
    return every if os.environ.get("EVERY_CLIENT") == "1" else few


def clients(*few: Client, every: Sequence[Client] = ALL) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", chosen(few, every))


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    with running_proxy(tmp_path_factory.mktemp("proxy"), api.url, options=OPTIONS) as running:
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Names a conversation after its test."""
    return str(request.node.name).removeprefix("test_").replace("[", "-").replace("]", "")


def assert_seen(api: ScriptedServer, talk: Talk) -> None:
    """The model was shown what the client has told, and nothing else."""
    assert plain(messages(_last(api, talk))) == plain(talk.asked)


def _last(api: ScriptedServer, talk: Talk) -> Call:
    return api.heard(talk.marker)[-1]


def assert_offered(api: ScriptedServer, talk: Talk) -> None:
    """The model was offered the client's tools as the client describes them, and no others."""
    told = {one.name: (one.description, one.schema) for one in talk.tools}
    assert shown(_last(api, talk)).tools == told


def ways(proxy: Proxy, talk: Talk, count: int) -> list[tuple[str, str]]:
    flows = proxy.bridged(talk.name, count)
    return [(flow["metadata"]["plan"], flow["metadata"]["reason"]) for flow in flows]


def assert_counted(proxy: Proxy, api: ScriptedServer, talk: Talk) -> None:
    """The ledger holds what the API has reported, and what that costs."""
    reported: Counter[str] = Counter()
    for call in api.heard(talk.marker):
        assert isinstance(call.reply, Reply)
        reported.update({name: getattr(call.reply.usage, name) for name in COUNTS})
    turns = rows(proxy, "SELECT * FROM turns WHERE external_id = ?", talk.name)
    booked = {name: sum(turn[name] for turn in turns) for name in COUNTS}
    assert booked == dict(reported)
    (prices,) = {PRICES[turn["model"]] for turn in turns}
    cost = sum(price * reported[name] for price, name in zip(prices, COUNTS, strict=True)) / 1e6
    assert sum(turn["cost_usd"] for turn in turns) == pytest.approx(cost)
