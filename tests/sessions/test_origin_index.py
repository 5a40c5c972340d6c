"""The index of the rules saves time and nothing else: a plain walk over all of them agrees."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.errors import BadRequest
from sessionbridge.sessions.origins.request import OriginRequest
from sessionbridge.sessions.origins.rule import OriginRule
from sessionbridge.sessions.origins.table import Origins, origin_by
from tests.sessions.test_origins import CODEX, OPENCLAW, OPENCODE, OPENROUTER, UUID, row

ROWS = [
    row(name="several", header=["X-One", "X-Two"]),
    row(name="deep", body=["chat.thread.id", "chat.id"]),
    row(name="chosen", header="X-Two", priority="own", when={"body": {"chat.id": "s"}}),
    row(name="late", body="session_id", kind="user"),
    row(name="text", system=r"conversation=(?P<id>\w+)"),
    row(name="open-webui", enabled=False),
]
TABLES = {
    "packaged": Origins.default(),
    "with rows of a user": Origins.default(ROWS),
    "all switched on": Origins(
        rule.model_copy(update={"enabled": True}) for rule in Origins.default(ROWS).rules
    ),
    "texts only": Origins([row(name="text", system=r"conversation=(?P<id>\w+)")]),
    "empty": Origins([]),
}
RULES = Origins.default(ROWS).rules
CLIENTS: list[dict[str, str]] = [{}, CODEX, OPENCODE, OPENROUTER, {"copilot-integration-id": "c"}]
SIGNALS = sorted({name for rule in RULES for name in rule.header})
PATHS = sorted({path for rule in RULES for path in rule.body})
IDS = ["s", "t", "", " ", "null", "s\x01", UUID, f"user_1_session_{UUID}", '{"_user": "u"}']
TEXTS = [OPENCLAW, "conversation=c7", "Hello."]


def outcome(table: Origins, headers: dict[str, str], body: Any) -> object:
    try:
        return table.detect(headers, body)
    except BadRequest as error:
        return error.message


def plain_walk(rules: tuple[OriginRule, ...], headers: dict[str, str], body: Any) -> object:
    request = OriginRequest(headers, body)
    try:
        found = (origin_by(rule, request) for rule in rules if rule.enabled)
        return next((origin for origin in found if origin is not None), None)
    except BadRequest as error:
        return error.message


def body_of(fields: dict[str, Any], texts: dict[str, str]) -> dict[str, Any]:
    """A body with these dotted fields; where one path goes on behind another's value, it counts."""
    body: dict[str, Any] = dict(texts)
    for path, value in sorted(fields.items()):
        *outer, last = path.split(".")
        inner = body
        for key in outer:
            if not isinstance(inner.get(key), dict):
                inner[key] = {}
            inner = inner[key]
        inner[last] = value
    return body


HEADERS = st.builds(
    lambda client, signals: {**client, **signals},
    st.sampled_from(CLIENTS),
    st.dictionaries(st.sampled_from(SIGNALS), st.sampled_from(IDS), max_size=3),
)
BODIES = st.builds(
    body_of,
    st.dictionaries(st.sampled_from(PATHS), st.sampled_from(IDS) | st.integers(), max_size=3),
    st.dictionaries(
        st.sampled_from(["system", "instructions", "input", "model"]),
        st.sampled_from(TEXTS),
        max_size=2,
    ),
)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@given(headers=HEADERS, body=st.none() | st.just([]) | BODIES)
def test_the_index_never_changes_a_result(
    table: Origins, headers: dict[str, str], body: Any
) -> None:
    assert outcome(table, headers, body) == plain_walk(table.rules, headers, body)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("value", IDS)
def test_each_signal_alone(table: Origins, value: str) -> None:
    for client in CLIENTS:
        for name in SIGNALS:
            headers = {**client, name: value}
            assert outcome(table, headers, None) == plain_walk(table.rules, headers, None)
        for path in PATHS:
            body = body_of({path: value}, {})
            assert outcome(table, client, body) == plain_walk(table.rules, client, body)


def test_a_request_without_a_signal_meets_the_text_rules_alone() -> None:
    """Also after others: what one request may satisfy is not kept for the next."""
    index = TABLES["packaged"]._index
    headers = {"host": "api.anthropic.com", "user-agent": "curl/8", "content-type": "text/json"}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello."}]}
    for signals in ({"x-chat-id": "c"}, {}):
        candidates = index.candidates(OriginRequest({**headers, **signals}, body))
        expected = ["generic", "openclaw"] if signals else ["openclaw"]
        assert [rule.name for rule in candidates] == expected
