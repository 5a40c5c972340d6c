"""The rules of the origin table: who wins, what an id may be, what must never meet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionbridge.errors import BadRequest
from sessionbridge.model import Origin
from sessionbridge.sessions.origins.rule import OriginRule
from sessionbridge.sessions.origins.table import Origins

ORIGINS = Origins.default()
UUID = "0b5c4c6e-6f5e-4a55-9a0e-0d7d8a1f6f11"
OPENCLAW = (
    "You are a personal assistant running inside OpenClaw.\n"
    "Runtime: agent=main | session=agent:main:explicit:s1 | sessionId=s1 | host=vm"
)
CODEX = {"originator": "codex_cli_rs"}
OPENCODE = {"user-agent": "opencode/1.18.33"}
OPENROUTER = {"host": "openrouter.ai"}


def row(**fields: Any) -> OriginRule:
    return OriginRule.model_validate(fields)


def detect(headers: dict[str, str], body: Any = None, origins: Origins = ORIGINS) -> Origin | None:
    return origins.detect(headers, body)


HEADERS = [
    ({"x-sessionbridge-session": "s"}, "sessionbridge", "s", "learn"),
    ({"x-claude-code-session-id": UUID}, "claude-code", UUID, "client"),
    ({"x-openclaw-session": "s"}, "openclaw", "s", "learn"),
    ({"x-openclaw-session-key": "agent:main:x"}, "openclaw-gateway", "agent:main:x", "server"),
    ({"x-openwebui-chat-id": "c"}, "open-webui", "c", "client"),
    ({"x-kilocode-taskid": "t"}, "kilo", "t", "client"),
    ({"x-kilo-session": "t"}, "kilo", "t", "client"),
    ({"x-opencode-session": "ses_1"}, "opencode", "ses_1", "client"),
    ({**OPENCODE, "x-session-affinity": "ses_1"}, "opencode", "ses_1", "client"),
    ({**OPENCODE, "x-session-id": "ses_1"}, "opencode", "ses_1", "client"),
    ({**CODEX, "session-id": UUID}, "codex", UUID, "client"),
    ({**CODEX, "session_id": UUID}, "codex", UUID, "client"),
    ({"user-agent": "codex_exec/0.169.0", "thread_id": UUID}, "codex", UUID, "client"),
    ({"user-agent": "pi (linux 6; x64)", "session_id": "p"}, "pi", "p", "client"),
    ({"copilot-integration-id": "c", "x-client-session-id": "s"}, "copilot", "s", "client"),
    ({"x-coder-chat-id": "c"}, "coder", "c", "client"),
    ({"x-mux-workspace-id": "w"}, "mux", "w", "client"),
    ({"x-hermes-session-id": "h"}, "hermes", "h", "learn"),
    ({"x-litellm-session-id": "l"}, "litellm", "l", "client"),
    ({"helicone-session-id": "h"}, "helicone", "h", "client"),
    ({"x-tfy-conversation-id": "t"}, "truefoundry", "t", "client"),
    ({"x-archestra-session-id": "a"}, "archestra", "a", "client"),
    ({"x-grok-conv-id": "g"}, "xai", "g", "client"),
    ({"x-affinity": "m"}, "mistral", "m", "client"),
    ({**OPENROUTER, "x-session-id": "o"}, "openrouter", "o", "client"),
    ({"host": "api.fireworks.ai", "x-session-affinity": "f"}, "fireworks", "f", "client"),
    ({"x-session-id": "g"}, "generic", "g", "learn"),
    ({"x-conversation-id": "g"}, "generic", "g", "learn"),
    ({"x-chat-id": "g"}, "generic", "g", "learn"),
    ({"x-thread-id": "g"}, "generic", "g", "learn"),
    ({"x-client-session-id": "g"}, "generic", "g", "learn"),
    ({"x-session-affinity": "g"}, "generic", "g", "learn"),
]

BODIES: list[tuple[dict[str, str], dict[str, Any], str, str, str]] = [
    (
        {},
        {"metadata": {"user_id": f"user_1_account_2_session_{UUID}"}},
        "claude-code",
        UUID,
        "client",
    ),
    (
        {},
        {"metadata": {"user_id": json.dumps({"device_id": "d", "session_id": UUID})}},
        "claude-code",
        UUID,
        "client",
    ),
    (CODEX, {"prompt_cache_key": UUID}, "codex", UUID, "client"),
    (CODEX, {"client_metadata": {"session_id": UUID}}, "codex", UUID, "client"),
    (OPENCODE, {"prompt_cache_key": "ses_1"}, "opencode", "ses_1", "client"),
    ({"user-agent": "KimiCLI/1.0"}, {"prompt_cache_key": "k"}, "kimi", "k", "client"),
    ({}, {"litellm_session_id": "l"}, "litellm", "l", "client"),
    (OPENROUTER, {"session_id": "o"}, "openrouter", "o", "client"),
    ({}, {"metadata": {"session_id": "h"}}, "claude-code-hub", "h", "client"),
    ({}, {"metadata": {"langfuse_session_id": "l"}}, "langfuse", "l", "client"),
    ({}, {"conversation": "conv_1"}, "openai", "conv_1", "server"),
    ({}, {"conversation": {"id": "conv_1"}}, "openai", "conv_1", "server"),
    ({}, {"conversation_id": 42}, "claude-max-api-proxy", "42", "learn"),
    ({}, {"session_id": "g"}, "generic", "g", "learn"),
]


@pytest.mark.acceptance(9)
@pytest.mark.parametrize(("headers", "platform", "external_id", "history"), HEADERS)
def test_a_header_names_the_conversation(
    headers: dict[str, str], platform: str, external_id: str, history: Any
) -> None:
    expected = Origin(platform, external_id, "conversation", history)
    assert detect(headers) == expected
    assert detect(headers, {"messages": [], "user": "u"}) == expected


@pytest.mark.parametrize(("headers", "body", "platform", "external_id", "history"), BODIES)
def test_a_body_field_names_the_conversation(
    headers: dict[str, str], body: Any, platform: str, external_id: str, history: Any
) -> None:
    of_an_account = platform == "openai"
    expected = Origin(platform, external_id, "conversation", history, of_an_account)
    assert detect(headers, body) == expected
    assert detect(headers, None) is None


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, None),
        ({}, {}),
        ({"session-id": UUID, "session_id": UUID, "thread-id": UUID}, {}),
        ({}, {"prompt_cache_key": UUID, "client_metadata": {"session_id": UUID}}),
        ({"x-client-request-id": UUID, "x-request-id": "r", "traceparent": "t"}, {}),
        ({"x-portkey-trace-id": "r", "x-litellm-trace-id": "r"}, {}),
        ({"x-user-id": "u", "x-openwebui-user-id": "u"}, {"user": "u", "safety_identifier": "u"}),
        ({"x-portkey-metadata": '{"_user": "u"}'}, {"metadata": {"user_id": "u"}}),
        ({"x-goclaw-agent-id": "a", "x-goclaw-tenant-id": "t"}, {"model": "goclaw:a"}),
        ({}, {"previous_response_id": "resp_1", "container": "c"}),
    ],
)
def test_shared_names_requests_and_users_are_no_origin(headers: dict[str, str], body: Any) -> None:
    assert detect(headers, body) is None


def test_the_classes_win_in_their_order() -> None:
    # Each step takes away what won, so the next class speaks.
    origins = Origins.default([row(name="openai-user", enabled=True)])
    headers = {"x-sessionbridge-session": "1", "x-openwebui-chat-id": "2", "x-chat-id": "3"}
    body: dict[str, Any] = {"conversation_id": "4", "user": "6", "instructions": OPENCLAW}
    seen = [detect(headers, body, origins)]
    for name in list(headers):
        del headers[name]
        seen.append(detect(headers, body, origins))
    for name in ("conversation_id", "instructions"):
        del body[name]
        seen.append(detect(headers, body, origins))
    assert [origin and origin.platform for origin in seen] == [
        "sessionbridge",
        "open-webui",
        "generic",
        "claude-max-api-proxy",
        "openclaw",
        "openai-user",
    ]


def test_a_conversation_header_wins_over_goclaws_user() -> None:
    found = detect({"x-goclaw-user-id": "u", "x-openwebui-chat-id": "c"})
    assert found is not None and found.platform == "open-webui"


def test_one_id_on_two_platforms_gives_two_origins() -> None:
    names = ["x-openwebui-chat-id", "x-openclaw-session", "x-chat-id", "x-coder-chat-id"]
    assert len({detect({name: "same"}) for name in names}) == len(names)


def test_names_in_a_rule_are_case_insensitive_and_values_are_not() -> None:
    origins = Origins([row(name="teams", header="X-Teams-Chat")])
    assert detect({"x-teams-chat": "AbC"}, None, origins) == Origin(
        "teams", "AbC", "conversation", "learn"
    )


def test_claude_codes_header_and_metadata_agree() -> None:
    body = {"metadata": {"user_id": f"user_1_account_2_session_{UUID}"}}
    assert detect({"x-claude-code-session-id": UUID}, body) == detect({}, body)


def test_sub_agents_have_conversations_of_their_own() -> None:
    pairs = [
        ("a", ""),
        ("a", "b"),
        ("a", "c"),
        ("a/b", ""),
        ("a", "b/c"),
        ("a/b", "c"),
        ("a%2Fb", ""),
    ]
    seen = [
        detect({"x-claude-code-session-id": session, "x-claude-code-agent-id": agent})
        for session, agent in pairs
    ]
    assert seen[0] == Origin("claude-code", "a", "conversation", "client")
    assert seen[1] == Origin("claude-code", "a/b", "conversation", "client")
    assert len(set(seen)) == len(pairs)


def test_codex_sub_agents_share_the_session_id_but_not_the_thread_id() -> None:
    root = detect({**CODEX, "session-id": "root", "thread-id": "root"})
    child = detect({**CODEX, "session-id": "root", "thread-id": "child"})
    assert root is not None and child is not None
    assert (root.external_id, child.external_id) == ("root", "child")


@pytest.mark.acceptance(25)
@pytest.mark.parametrize(
    ("headers", "body", "agent"),
    [
        ({}, None, "default"),
        ({}, {"model": "claude-sonnet-4-5"}, "default"),
        ({"x-goclaw-agent": "b"}, None, "b"),
        ({"x-goclaw-agent": "b", "x-goclaw-agent-id": "a"}, None, "a"),
        ({"x-goclaw-agent-id": "a"}, {"model": "agent:m"}, "m"),
        ({"x-goclaw-agent-id": "a"}, {"model": "goclaw:m"}, "m"),
        ({"x-goclaw-agent-id": "a"}, {"model": "goclaw:"}, "a"),
        ({"x-goclaw-agent-id": " "}, {"model": 7}, "default"),
    ],
)
def test_goclaws_key_names_agent_and_user(headers: dict[str, str], body: Any, agent: str) -> None:
    assert detect({"x-goclaw-user-id": "teams:29:ab/c", **headers}, body) == Origin(
        "goclaw", f"agent:{agent}:http:direct:teams:29:ab/c", "user", "server"
    )


PART = st.text(alphabet="a:/%", min_size=1, max_size=12) | st.sampled_from(
    ["a", "a:http:direct:b", "b", "b:http:direct:a", "tenant:a", "agent:a", "a%3Ab", "a:b"]
)
Owner = tuple[str | None, str | None, str]
OWNER = st.tuples(st.none() | PART, st.none() | PART, PART)


@pytest.mark.acceptance(27, 32)
@given(OWNER, OWNER)
@example((None, "a", "b:http:direct:c"), (None, "a:http:direct:b", "c"))
@example(("t", "a", "u:agent:b:http:direct:v"), ("t:agent:a:http:direct:u", "b", "v"))
@example(("t:agent:b", "a", "u"), ("t", "b:agent:a", "u"))
@example(("a/b", "c", "d"), ("a", "b/c", "d"))
@example((None, "a:b", "u"), (None, "a%3Ab", "u"))
def test_two_goclaw_users_never_meet(one: Owner, two: Owner) -> None:
    assert (goclaw(*one) == goclaw(*two)) is (meant(*one) == meant(*two))


def goclaw(tenant: str | None, agent: str | None, user: str) -> Origin | None:
    parts = {"x-goclaw-tenant-id": tenant, "x-goclaw-agent-id": agent, "x-goclaw-user-id": user}
    return detect({name: part for name, part in parts.items() if part})


def meant(tenant: str | None, agent: str | None, user: str) -> Owner:
    return tenant, agent or "default", user


@pytest.mark.parametrize("empty", ["", "  ", "\t", "null", "undefined", "None", "{{CHAT_ID}}"])
def test_an_empty_or_unset_value_leaves_it_to_the_next_rule(empty: str) -> None:
    found = detect({"x-openwebui-chat-id": empty, "x-chat-id": empty, "x-thread-id": " t "})
    assert found == Origin("generic", "t", "conversation", "learn")
    assert detect({"x-chat-id": empty}) is None


@pytest.mark.parametrize(
    "bad", ["se\x00cret", "se\x1bcret", "se\x7fcret", "se\x85cret", "se\ud800cret"]
)
@pytest.mark.parametrize(
    ("name", "headers", "body"),
    [
        ("x-chat-id", {"x-chat-id": "BAD"}, None),
        (
            "x-claude-code-agent-id",
            {"x-claude-code-session-id": UUID, "x-claude-code-agent-id": "BAD"},
            None,
        ),
        ("x-goclaw-user-id", {"x-goclaw-user-id": "BAD"}, None),
        ("x-goclaw-tenant-id", {"x-goclaw-user-id": "u", "x-goclaw-tenant-id": "BAD"}, None),
        ("model", {"x-goclaw-user-id": "u"}, {"model": "goclaw:BAD"}),
        ("conversation.id", {}, {"conversation": {"id": "BAD"}}),
    ],
)
def test_a_broken_id_is_refused_by_name_and_never_repeated(
    name: str, headers: dict[str, str], body: Any, bad: str
) -> None:
    headers = {key: value.replace("BAD", bad) for key, value in headers.items()}
    body = json.loads(json.dumps(body).replace("BAD", json.dumps(bad)[1:-1]))
    with pytest.raises(BadRequest) as caught:
        detect(headers, body)
    assert caught.value.param == name
    assert name in caught.value.message
    assert "cret" not in caught.value.message


def test_long_ids_are_hashed_whole() -> None:
    def external_id(text: str) -> str:
        found = detect({"x-chat-id": text})
        assert found is not None
        return found.external_id

    assert external_id("a" * 255) == "a" * 255
    one, two = external_id("a" * 300 + "1"), external_id("a" * 300 + "2")
    assert one != two
    assert one == external_id("a" * 300 + "1")
    assert one.startswith("sha256:") and len(one) == 71
