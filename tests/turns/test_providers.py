"""Which provider answers a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessionbridge.allowances import ClientRules
from sessionbridge.config import Settings
from sessionbridge.errors import BadRequest, BridgeError, Refused
from sessionbridge.model import Attempt, Origin
from sessionbridge.turns.exchange import Exchange, Wanted
from sessionbridge.turns.providers import chosen, names_for
from tests.test_providers import configured

CONFIG = """
[providers.team]
for_clients = ["ann"]
[providers.fast]
for_models = ["haiku*", "*mini"]
for_clients = ["bot"]
[providers.claw]
for_platforms = ["openclaw"]
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return configured(tmp_path, CONFIG)


def asked(
    provider: str | None = None,
    *,
    client: str = "",
    model: str = "opus",
    platform: str = "librechat",
    may_name: tuple[str, ...] = (),
) -> Exchange:
    origin = Origin(platform, "chat-1", "conversation", "client", client=client)
    rules = ClientRules(providers=may_name)
    who = Wanted(provider=provider, model=model)
    return Exchange("messages", origin, Attempt(client=client), rules=rules, wanted=who)


@pytest.mark.parametrize(
    ("exchange", "provider"),
    [
        (asked(), "claude"),
        (asked(client="ann"), "team"),
        (asked(client="bob"), "claude"),
        (asked(model="Haiku-4"), "fast"),
        (asked(model="gpt-5-mini"), "fast"),
        (asked(platform="openclaw"), "claw"),
        (asked(platform="openclaw", model="haiku"), "fast"),
        (asked(platform="openclaw", model="haiku", client="ann"), "team"),
        (asked("claw", client="ann", may_name=("claw",)), "claw"),
        (asked("team", client="ann"), "team"),
        (asked("claude", model="haiku"), "claude"),
    ],
)
def test_the_header_counts_before_the_client_the_model_and_the_platform(
    settings: Settings, exchange: Exchange, provider: str
) -> None:
    assert chosen(exchange, settings) == provider


@pytest.mark.parametrize(
    ("exchange", "kind", "said"),
    [
        (asked("nobody"), BadRequest, "no provider 'nobody'; name one of claude, team, fast, claw"),
        (asked("a secret\x00"), BadRequest, "no provider this value"),
        (asked("claude", client="ann"), Refused, "'claude' is not one that ann may name"),
        # Which ones there are is not for every client to find out.
        (asked("nobody", client="ann"), Refused, "'nobody' is not one that ann may name"),
    ],
)
def test_a_name_that_is_none_or_not_theirs_to_give(
    settings: Settings, exchange: Exchange, kind: type[BridgeError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        chosen(exchange, settings)


NAMES = """
[models]
common = "sonnet"
[providers.claude]
models = { usual = "sonnet" }
[providers.team]
for_clients = ["ann"]
models = { teams = "opus" }
[providers.fast]
for_models = ["quick"]
models = { quick = "haiku", slow = "haiku" }
[providers.claw]
for_platforms = ["openclaw"]
models = { claws = "opus" }
[providers.named]
models = { secret = "opus" }
"""


@pytest.mark.parametrize(
    ("client", "may_name", "names"),
    [
        ("", (), "usual teams quick slow claws secret common"),
        ("ann", (), "teams common"),
        ("ann", ("named", "gone"), "teams secret common"),
        ("bob", (), "usual quick claws common"),
        ("bob", ("fast",), "usual quick slow claws common"),
    ],
)
def test_a_client_finds_names_that_lead_somewhere_for_it(
    tmp_path: Path, client: str, may_name: tuple[str, ...], names: str
) -> None:
    settings = configured(tmp_path, NAMES)
    found = names_for(client, ClientRules(providers=may_name), settings)
    assert [name for name, _ in found] == names.split()
