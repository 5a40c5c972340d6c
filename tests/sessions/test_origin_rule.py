"""A user's rows: what they change, where they stand, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from sessionbridge.model import Origin
from sessionbridge.sessions.origins.rule import OriginRule
from sessionbridge.sessions.origins.table import Origins

ORIGINS = Origins.default()


def row(**fields: Any) -> OriginRule:
    return OriginRule.model_validate(fields)


def test_a_users_row_changes_only_what_it_gives() -> None:
    off = Origins.default([row(name="open-webui", enabled=False)])
    assert off.detect({"x-openwebui-chat-id": "c"}, None) is None
    renamed = Origins.default([row(name="open-webui", header="X-My-Chat")])
    assert renamed.detect({"x-my-chat": "c"}, None) == Origin(
        "open-webui", "c", "conversation", "client"
    )
    moved = Origins.default([row(name="open-webui", body="chat_id")])
    assert moved.detect({"x-openwebui-chat-id": "c"}, None) is None
    assert moved.detect({}, {"chat_id": "c"}) is not None


def test_users_of_an_api_are_opt_in() -> None:
    on = Origins.default(
        [row(name="portkey-user", enabled=True), row(name="openclaw-gateway-user", enabled=True)]
    )
    assert on.detect({"x-portkey-metadata": '{"env": "p", "_user": "u"}'}, None) == Origin(
        "portkey-user", "u", "user", "client"
    )
    assert on.detect({}, {"user": "u", "model": "openclaw/main"}) == Origin(
        "openclaw-gateway-user", "u", "user", "server"
    )
    assert on.detect({}, {"user": "u", "model": "gpt-4o"}) is None


def test_a_users_new_row_comes_before_the_packaged_ones_of_its_class() -> None:
    origins = Origins.default(
        [row(name="teams", header="X-Teams-Conversation", when={"header": {"user-agent": "^Bot"}})]
    )
    headers = {"x-teams-conversation": "19:x@thread", "x-openwebui-chat-id": "c"}
    named = origins.detect({**headers, "user-agent": "Bot/1"}, None)
    assert named == Origin("teams", "19:x@thread", "conversation", "learn")
    other = origins.detect({**headers, "user-agent": "curl"}, None)
    assert other is not None and other.platform == "open-webui"
    assert len(origins.rules) == len(ORIGINS.rules) + 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "x", "header": "a", "body": "b"}, "header and body"),
        ({"name": "x", "header": "a", "heder": "b"}, "heder"),
        ({"name": "x", "system": "no group"}, "(?P<id>"),
        ({"name": "x", "header": "a", "extract": "("}, "regular expression"),
        ({"name": "x", "header": "a", "when": {}}, "proves nothing"),
        ({"name": "", "header": "a"}, "name"),
        ({"header": "a"}, "name"),
        ({"name": "x", "header": "a", "kind": "group"}, "kind"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=".*") as caught:
        row(**fields)
    assert said in str(caught.value)


def test_a_table_needs_signals_and_unique_names() -> None:
    with pytest.raises(ValueError, match="'x' is not in the packaged table"):
        Origins.default([row(name="x", enabled=True)])
    with pytest.raises(ValueError, match="'x' is there twice"):
        Origins.default([row(name="x", header="a"), row(name="x", header="b")])
