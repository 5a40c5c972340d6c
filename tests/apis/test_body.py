"""Bytes from outside end in a `Turn` or a `BadRequest`, whatever they are."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionbridge.apis import SHAPES
from sessionbridge.apis.common.body import MAX_DEPTH, MOST_MESSAGES, MOST_TOOLS, MOST_VALUES, load
from sessionbridge.errors import BadRequest


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b'{"model": "Zanzibar-4711',
        b"[]",
        b'"Zanzibar-4711"',
        b"null",
        b"\xff\xfe{}",
        '{"model": "x"}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"model": NaN}',
        b'{"model": -Infinity}',
        b'{"temperature": 1e999}',
        b'{"model": "\\ud83d"}',
        b'{"\\udc00": 1}',
        b'{"model": "a", "model": "b"}',
        b'{"model": ' + b"[" * 100_000 + b"}",
        b'{"model": ' + b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b"}",
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_broken_body_is_a_bad_request_and_nothing_else(name: str, sent: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        SHAPES[name].parse(sent)
    error = caught.value
    # The errors behind it hold the body; a log that prints the chain must not show them.
    assert error.__cause__ is None and error.__context__ is None
    assert error.message.startswith("the request body: must ")
    assert error.param is None
    assert "Zanzibar" not in error.message


ITEMS = {"messages": "messages", "chat": "messages", "responses": "input", "ollama": "messages"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, **fields}).encode()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("item", ["{}", "[]", "1", '""', '{"a":1}', '"\\\\"', '"\\"[{,"'])
def test_too_many_values_are_refused_unread(name: str, item: str) -> None:
    values = ",".join([item] * MOST_VALUES)
    sent = f'{{"model": "m", "{ITEMS[name]}": [{values}]}}'.encode()
    with pytest.raises(BadRequest, match="must not hold more than 1,000,000 values"):
        SHAPES[name].parse(sent)


@pytest.mark.parametrize("name", SHAPES)
def test_what_texts_hold_is_no_value(name: str) -> None:
    text = '\\ "[{,' * MOST_VALUES
    sent = body(**{ITEMS[name]: [{"role": "user", "content": text}]})
    (message,) = SHAPES[name].parse(sent).messages
    assert message.blocks[0]["text"] == text


@pytest.mark.parametrize("name", SHAPES)
def test_a_conversation_has_at_most_so_many_messages(name: str) -> None:
    said = [{"role": "user", "content": "a"}] * MOST_MESSAGES
    assert SHAPES[name].parse(body(**{ITEMS[name]: said})).messages
    with pytest.raises(BadRequest) as caught:
        SHAPES[name].parse(body(**{ITEMS[name]: [*said, said[0]]}))
    assert caught.value.message == f"{ITEMS[name]}: must have at most 100,000 items"
    assert caught.value.param == ITEMS[name]


@pytest.mark.parametrize("name", SHAPES)
def test_a_request_has_at_most_so_many_tools(name: str) -> None:
    said = {ITEMS[name]: [{"role": "user", "content": "a"}]}
    with pytest.raises(BadRequest, match="tools: must have at most 10,000 items"):
        SHAPES[name].parse(body(**said, tools=[{}] * (MOST_TOOLS + 1)))


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("messages", {"messages": [{}] * 50_000}),
        ("messages", {"stop_sequences": [1] * 50_000}),
        ("chat", {"messages": [{}] * 50_000}),
        ("chat", {"functions": [{}] * 10_000}),
        ("chat", {"stop": [1] * 50_000}),
        (
            "chat",
            {
                "tools": [{"type": "function", "function": {"name": "a"}}],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{}] * 50_000},
                },
            },
        ),
        ("responses", {"tool_choice": {"type": "allowed_tools", "tools": [{}] * 50_000}}),
    ],
)
def test_the_first_wrong_item_is_enough(name: str, fields: dict[str, Any]) -> None:
    """Each error takes a kilobyte, where a list of them is made."""
    said = {ITEMS[name]: [{"role": "user", "content": "a"}]}
    sent = body(**said | fields)
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest):
            SHAPES[name].parse(sent)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8_000_000


# Objects that are nearly right, to reach every branch that a body from outside can.
NAMES = st.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "source",
        "data",
        "url",
        "id",
        "name",
        "input",
        "tool_use_id",
        "tool_call_id",
        "tool_calls",
        "function",
        "arguments",
        "function_call",
        "refusal",
        "image_url",
        "file",
        "file_data",
        "media_type",
        "parameters",
        "input_schema",
        "schema",
        "json_schema",
        "format",
        "effort",
        "budget_tokens",
    ]
)
WORDS = st.sampled_from(
    [
        "user",
        "assistant",
        "system",
        "tool",
        "function",
        "text",
        "image",
        "image_url",
        "document",
        "file",
        "tool_use",
        "tool_result",
        "thinking",
        "refusal",
        "base64",
        "url",
        "content",
        "x",
        "{}",
        "json_schema",
        "enabled",
        "auto",
        "data:image/png;base64,aGk=",
    ]
)
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
PART = st.fixed_dictionaries({"type": WORDS}, optional={"text": VALUES, "source": VALUES})
MESSAGE = st.fixed_dictionaries(
    {"role": WORDS, "content": st.lists(PART | VALUES, max_size=3) | VALUES},
    optional={"tool_calls": VALUES, "tool_call_id": VALUES, "function_call": VALUES},
)


@pytest.mark.parametrize("name", SHAPES)
@settings(deadline=None)
@given(messages=st.lists(MESSAGE, max_size=3))
def test_whatever_the_messages_are_they_are_understood_or_refused(
    name: str, messages: list[Any]
) -> None:
    request = {"model": "m", "max_tokens": 9, "messages": messages, "input": messages}
    try:
        turn = SHAPES[name].parse(json.dumps(request).encode())
    except BadRequest as error:
        assert error.param
    else:
        assert turn.messages[-1].role == "user"
        assert all(message.blocks for message in turn.messages)


PARAMETERS = st.dictionaries(
    st.sampled_from(
        [
            "tools",
            "tool_choice",
            "functions",
            "function_call",
            "thinking",
            "output_config",
            "output_format",
            "stop_sequences",
            "stop",
            "response_format",
            "reasoning_effort",
            "reasoning",
            "text",
        ]
    ),
    VALUES,
    max_size=3,
)


@pytest.mark.parametrize("name", SHAPES)
@settings(deadline=None)
@given(parameters=PARAMETERS)
def test_whatever_the_parameters_are_they_are_understood_or_refused(
    name: str, parameters: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    request = {"model": "m", "max_tokens": 9, "messages": messages, "input": messages}
    try:
        turn = SHAPES[name].parse(json.dumps(request | parameters).encode())
    except BadRequest as error:
        assert error.param
    else:
        assert all(tool.name for tool in turn.parameters.tools)


def test_depth_up_to_the_limit_is_read() -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(load(deepest, "")) == deepest


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert load(b'"\\ud83d\\ude42"', "") == "🙂"


def test_json_within_json_is_refused_by_the_name_of_its_field() -> None:
    with pytest.raises(BadRequest, match=r"^a\.b: must be JSON \(line 1, column 2\)$") as caught:
        load("{", "a.b")
    assert caught.value.param == "a.b"
