"""Compaction on demand in the Messages API: what is asked for, what comes back, and each error of
the reference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.apis.anthropic_messages.compaction import signature
from sessionbridge.apis.anthropic_messages.request import MessagesShape
from sessionbridge.apis.common.summary import PROMPT, shown
from sessionbridge.errors import BadRequest
from sessionbridge.model import Message, TurnRequest

SHAPE = MessagesShape()
SUMMARIZE = {"type": "summarize"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}
BLOCK = {"type": "compaction", "content": "They met.", "signature": signature("They met.")}
THRESHOLD = {"type": "compaction", "content": "They met."}
SHOWN = shown("They met.")


def said(role: str, *content: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    return {"role": role, "content": blocks}


def user(*content: Any) -> dict[str, Any]:
    return said("user", *content)


def assistant(*content: Any) -> dict[str, Any]:
    return said("assistant", *content)


def parse(*messages: dict[str, Any], **fields: Any) -> TurnRequest:
    request = {"model": "m", "max_tokens": 9, "messages": list(messages), **fields}
    return SHAPE.parse(json.dumps(request).encode())


def refusal(*messages: dict[str, Any], **fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parse(*messages, **fields)
    return caught.value


def spoken(turn: TurnRequest) -> list[tuple[str, Any]]:
    return [(m.role, b.get("text") or b["type"]) for m in turn.messages for b in m.blocks]


@pytest.mark.parametrize(
    "messages",
    [
        [user("Hi")],
        [user("Hi"), assistant("Hello")],
        [user("Hi"), assistant(CALL), user(RESULT)],
        [assistant(BLOCK)],
    ],
    ids=["a question", "an answer", "results", "a summary"],
)
def test_the_question_stands_at_the_end_of_the_conversation(messages: list[Any]) -> None:
    turn = parse(*messages, compaction=SUMMARIZE)
    assert turn.purpose == "summary"
    assert spoken(turn)[-1] == ("user", PROMPT)
    own = parse(*messages, compaction={**SUMMARIZE, "instructions": "Names only."})
    assert spoken(own)[:-1] == spoken(turn)[:-1]
    assert spoken(own)[-1] == ("user", "Names only.")


ASK = user("And then?")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([assistant(BLOCK)], [Message("user", (SHOWN,))]),
        ([assistant(BLOCK), ASK], [SHOWN["text"], "And then?"]),
        ([user(BLOCK, {"type": "text", "text": "And then?"})], [SHOWN["text"], "And then?"]),
        ([assistant(BLOCK), assistant("Hello"), ASK], [SHOWN["text"], "Hello", "And then?"]),
        ([user("Hi"), assistant(THRESHOLD, "Hello"), ASK], [SHOWN["text"], "Hello", "And then?"]),
        (
            [user("Hi"), assistant({**THRESHOLD, "content": "Old."}), user(THRESHOLD), ASK],
            [SHOWN["text"], "And then?"],
        ),
    ],
    ids=["alone", "a message of its own", "first block", "turn kept", "threshold", "two of them"],
)
def test_a_summary_stands_for_what_was_said_before(
    messages: list[Any], expected: list[Any]
) -> None:
    turn = parse(*messages)
    assert turn.summarized
    texts = [text for _, text in spoken(turn)]
    assert texts == [e if isinstance(e, str) else e.blocks[0]["text"] for e in expected]
    assert turn.messages[0].role == "user"
    assert turn.ignored == ()


def test_a_block_without_a_summary_says_nothing() -> None:
    turn = parse(user("Hi"), assistant({"type": "compaction", "content": None}, "Hello"), ASK)
    assert [text for _, text in spoken(turn)] == ["Hi", "Hello", "And then?"]
    assert not turn.summarized


def test_changes_of_tools_are_named() -> None:
    change = {"type": "tool_removal", "tool": {"type": "tool_reference", "tool_name": "look"}}
    assert parse(assistant({**BLOCK, "tool_changes": []}), ASK).ignored == ()
    turn = parse(assistant({**BLOCK, "tool_changes": [change]}), ASK)
    assert turn.ignored == ("messages.content.compaction.tool_changes",)


PAUSED = assistant({"type": "server_tool_use", "id": "srvtoolu_1", "name": "w", "input": {}})
CODES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("nothing_to_summarize", [], {"compaction": SUMMARIZE}),
    ("nothing_to_summarize", [said("system", "Be brief.")], {"compaction": SUMMARIZE}),
    ("nothing_to_summarize", [user(" ")], {"compaction": SUMMARIZE}),
    ("incomplete_turn", [user("Hi"), assistant(CALL)], {"compaction": SUMMARIZE}),
    ("incomplete_turn", [user("Hi"), PAUSED], {"compaction": SUMMARIZE}),
    ("block_misplaced", [user("Hi"), assistant(BLOCK), ASK], {}),
    ("block_misplaced", [said("system", THRESHOLD), ASK], {}),
    ("block_ambiguous", [assistant(BLOCK), user(BLOCK), ASK], {}),
    ("content_mismatch", [assistant({**BLOCK, "content": "They parted."}), ASK], {}),
]


@pytest.mark.parametrize(("code", "messages", "fields"), CODES)
def test_errors_have_the_codes_of_the_api(
    code: str, messages: list[Any], fields: dict[str, Any]
) -> None:
    error = refusal(*messages, **fields)
    told = json.loads(SHAPE.error_body(error))["error"]
    assert told["details"] == {"error_code": f"compaction_{code}"}
    assert (SHAPE.status(error), told["type"]) == (400, "invalid_request_error")
    assert "parted" not in told["message"]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("context_management", {"context_management": {"edits": []}}),
        ("stop_sequences", {"stop_sequences": ["END"]}),
        ("output_config.format", {"output_config": {"format": {"type": "json_schema"}}}),
        ("tool_choice", {"tool_choice": {"type": "any"}}),
        ("max_tokens", {"max_tokens": 0}),
        ("compaction.instructions", {"compaction": {**SUMMARIZE, "instructions": "x" * 16_385}}),
        ("compaction.type", {"compaction": {"type": "other"}}),
    ],
)
def test_what_goes_with_a_reply_alone_is_refused(field: str, fields: dict[str, Any]) -> None:
    if "output_config" in fields:
        fields = {"output_config": {"format": {"type": "json_schema", "schema": {}}}}
    error = refusal(user("Hi"), **{"compaction": SUMMARIZE, **fields})
    assert error.message.startswith(field)
    assert error.code is None
