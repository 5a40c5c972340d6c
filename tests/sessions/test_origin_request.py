"""What a rule can see of a body: three shapes of a system prompt, and any JSON at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionbridge.errors import BadRequest
from sessionbridge.model import Origin
from sessionbridge.sessions.origins.table import Origins

ORIGINS = Origins.default()
OPENCLAW = "You are a personal assistant running inside OpenClaw.\n## Tooling\n"
RUNTIME = "Runtime: agent=main | session=agent:main:explicit:s1 | sessionId=s1 | host=vm | os=Linux"
CHAT_SYSTEM = {"role": "system", "content": OPENCLAW}


@pytest.mark.parametrize(
    "body",
    [
        {"system": OPENCLAW + RUNTIME},
        {"system": [{"type": "text", "text": OPENCLAW}, {"type": "text", "text": RUNTIME}]},
        {"system": OPENCLAW, "messages": [{"role": "user", "content": "hi\n\n" + RUNTIME}]},
        {"messages": [CHAT_SYSTEM, {"role": "user", "content": "hi\n\n" + RUNTIME}]},
        {"messages": [{"role": "developer", "content": [{"text": OPENCLAW + RUNTIME}]}]},
        {"instructions": OPENCLAW + RUNTIME, "input": "hi"},
        {"instructions": OPENCLAW, "input": "hi\n" + RUNTIME},
        {
            "input": [
                {"role": "system", "content": [{"type": "input_text", "text": OPENCLAW}]},
                {"role": "user", "content": [{"type": "input_text", "text": RUNTIME}]},
            ]
        },
    ],
)
def test_openclaws_runtime_line_names_the_conversation(body: Any) -> None:
    assert ORIGINS.detect({}, body) == Origin("openclaw", "s1", "conversation", "client")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"system": RUNTIME}, id="not OpenClaw's prompt"),
        pytest.param({"messages": [{"role": "user", "content": OPENCLAW + RUNTIME}]}, id="pasted"),
        pytest.param(
            {
                "messages": [
                    CHAT_SYSTEM,
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": RUNTIME},
                    {"role": "user", "content": RUNTIME},
                ]
            },
            id="later message",
        ),
        pytest.param(
            {"messages": [{"role": "user"}, {"role": "system", "content": OPENCLAW + RUNTIME}]},
            id="later system message",
        ),
        pytest.param({"system": OPENCLAW + "> " + RUNTIME}, id="quoted"),
        pytest.param({"system": OPENCLAW + RUNTIME.replace(" | ", "|")}, id="other spacing"),
        pytest.param(
            {"system": OPENCLAW + "Runtime: agent=main | sessionId=s1 | host=vm"}, id="cut"
        ),
    ],
)
def test_a_runtime_line_elsewhere_does_not_count(body: Any) -> None:
    assert ORIGINS.detect({}, body) is None


def test_openclaws_own_line_follows_a_pasted_one() -> None:
    pasted = RUNTIME.replace("s1", "other")
    body = {"messages": [CHAT_SYSTEM, {"role": "user", "content": f"{pasted}\n\n{RUNTIME}"}]}
    assert ORIGINS.detect({}, body) == Origin("openclaw", "s1", "conversation", "client")


@pytest.mark.parametrize("value", [True, False, None, 1.5, [], ["a"], {}, {"x": "y"}])
def test_other_json_values_are_no_id(value: Any) -> None:
    assert ORIGINS.detect({}, {"conversation_id": value, "session_id": value}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "text", "type", "id", "user_id", "session_id", "metadata"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
FIELDS = [
    "system",
    "instructions",
    "messages",
    "input",
    "metadata",
    "conversation",
    "user",
    "model",
]
EVERYTHING = Origins(rule.model_copy(update={"enabled": True}) for rule in ORIGINS.rules)


@given(
    headers=st.dictionaries(
        st.sampled_from(sorted({name for rule in ORIGINS.rules for name in rule.header})),
        st.text(),
        max_size=2,
    ),
    body=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6) | JSON,
)
def test_no_request_breaks_the_detector(headers: dict[str, str], body: Any) -> None:
    try:
        found = EVERYTHING.detect(headers, body)
    except BadRequest as error:
        assert error.param
        return
    if found is not None:
        assert 0 < len(found.external_id) <= 255
        assert found.external_id.encode()
