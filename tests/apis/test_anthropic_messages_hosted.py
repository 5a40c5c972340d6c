"""Blocks of real Messages histories: each type of the official package is decided, one by one."""

from __future__ import annotations

import json
from typing import Any, get_args, get_type_hints

import pytest
from anthropic.types import ContentBlockParam
from anthropic.types.beta import BetaContentBlockParam
from anthropic.types.beta.beta_tool_result_block_param import Content

from sessionbridge.apis.anthropic_messages import compaction
from sessionbridge.apis.anthropic_messages.blocks import (
    ASSISTANT_TYPES,
    LEFT_OUT,
    RESULT_TYPES,
    SERVER_RESULTS,
    THOUGHTS,
    USER_TYPES,
)
from sessionbridge.model import (
    Block,
    Message,
    Role,
    SearchResultBlock,
    ServerResult,
    ServerResultBlock,
    ServerToolUseBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from sessionbridge.sessions.planning.lineage import chain
from tests.apis.test_anthropic_messages import CALL, assistant, parse, result, text, user

FOUND: SearchResultBlock = {
    "type": "search_result",
    "source": "https://e.org",
    "title": "T",
    "content": [text("x")],
}
SEARCH: ServerToolUseBlock = {
    "type": "server_tool_use",
    "id": "srv_1",
    "name": "web_search",
    "input": {"query": "x"},
}
MCP = {"type": "mcp_tool_use", "id": "m_1", "name": "find", "server_name": "d", "input": {"q": 1}}
TOLD = {"type": "mcp_tool_result", "tool_use_id": "m_1", "is_error": False}
ADVICE = {"type": "server_tool_use", "id": "a_1", "name": "advisor", "input": {}}
SAID = {"type": "advisor_tool_result", "tool_use_id": "a_1", "content": {"text": "Do."}}


def types(union: Any) -> set[str]:
    """The `type`s of a union of typed dictionaries; the classes of answers beside them add none."""
    found: set[str] = set()
    for member in get_args(union):
        if get_args(member):
            found |= types(member)
        elif hasattr(member, "__total__"):
            found |= set(get_args(get_type_hints(member).get("type")))
    return found


def test_every_block_type_of_the_official_package_is_decided() -> None:
    decided = {*USER_TYPES, *ASSISTANT_TYPES, *LEFT_OUT, compaction.KIND}
    assert types(ContentBlockParam) | types(BetaContentBlockParam) == decided
    assert types(Content) <= {*RESULT_TYPES}


@pytest.mark.parametrize("kind", SERVER_RESULTS)
def test_what_tools_at_anthropic_found_stays_as_it_is(kind: ServerResult) -> None:
    found: ServerResultBlock = {
        "type": kind,
        "tool_use_id": "srv_1",
        "content": [{"encrypted_content": "E"}],
    }
    turn = parse(user(text("q")), assistant(SEARCH, found, text("So.")), user(text("and?")))
    assert turn.messages[1] == Message("assistant", (SEARCH, found, text("So.")))
    assert turn.ignored == ()
    assert len(chain(turn.messages)) == 3


def test_search_results_stay_without_their_marks() -> None:
    marked = {**FOUND, "citations": {"enabled": True}, "cache_control": {"type": "ephemeral"}}
    turn = parse(user(marked, text("q")), assistant(CALL), user(result([marked])))
    assert turn.messages[0].blocks[0] == FOUND
    assert turn.messages[2].blocks[0]["content"] == [FOUND]
    other = parse(user({**FOUND, "content": [text("y")]}, text("q")))
    assert chain(turn.messages)[0].hash != chain(other.messages)[0].hash


def use(id_: str, name: str, **given: Any) -> ToolUseBlock:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def answer(id_: str, content: Any, **more: Any) -> ToolResultBlock:
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


APART: dict[str, tuple[list[Any], list[tuple[Role, list[Block]]]]] = {
    "mcp": (
        [text("See:"), MCP, {**TOLD, "content": [text("found")]}, text("So.")],
        [
            ("assistant", [text("See:"), use("m_1", "d__find", q=1)]),
            ("user", [answer("m_1", [text("found")])]),
            ("assistant", [text("So.")]),
        ],
    ),
    "mcp that failed": (
        [MCP, {**TOLD, "content": "no", "is_error": True}, text("So.")],
        [
            ("assistant", [use("m_1", "d__find", q=1)]),
            ("user", [answer("m_1", "no", is_error=True)]),
            ("assistant", [text("So.")]),
        ],
    ),
    "advice": (
        [ADVICE, SAID, text("So.")],
        [
            ("assistant", [use("a_1", "advisor")]),
            ("user", [answer("a_1", json.dumps({"text": "Do."}))]),
            ("assistant", [text("So.")]),
        ],
    ),
    "beside a search": (
        [SEARCH, MCP, {**TOLD, "content": "x"}, text("So.")],
        [
            ("assistant", [SEARCH, use("m_1", "d__find", q=1)]),
            ("user", [answer("m_1", "x")]),
            ("assistant", [text("So.")]),
        ],
    ),
}


@pytest.mark.parametrize("blocks, told", APART.values(), ids=APART)
def test_what_betas_have_done_is_told_as_calls_and_results(
    blocks: list[Any], told: list[tuple[Role, list[Block]]]
) -> None:
    turn = parse(user(text("q")), assistant(*blocks), user(text("and?")))
    assert turn.messages[1:-1] == tuple(Message(role, tuple(said)) for role, said in told)
    assert turn.ignored == ()


def test_a_call_that_was_given_up_is_left_out_and_named() -> None:
    turn = parse(user(text("q")), assistant(MCP, text("So.")), user(text("and?")))
    assert turn.messages[1].blocks == (text("So."),)
    assert turn.ignored == ("messages.content.mcp_tool_use",)


def test_the_clients_own_calls_come_after_what_is_answered_already() -> None:
    turn = parse(user(text("q")), assistant(CALL, MCP, {**TOLD, "content": "x"}), user(result("1")))
    assert [message.role for message in turn.messages] == ["user", "assistant", "user"] * 1 + [
        "assistant",
        "user",
    ]
    assert turn.messages[3].blocks == (CALL,)


@pytest.mark.parametrize("kind", LEFT_OUT)
@pytest.mark.parametrize("say", [user, assistant])
def test_what_says_nothing_is_left_out_and_named(kind: str, say: Any) -> None:
    extra = say({"type": kind, "file_id": "f", "content": None}, text("Hm"))
    turn = parse(user(text("q")), assistant(text("a")), user(text("q")), extra, user(text("q")))
    assert all(block["type"] == "text" for m in turn.messages for block in m.blocks)
    assert turn.ignored == (f"messages.content.{kind}",)


def test_a_tool_that_was_found_is_named_in_words() -> None:
    """The CLI would put a sentence of its own there."""
    reference = {"type": "tool_reference", "tool_name": "look"}
    turn = parse(user(text("q")), assistant(CALL), user(result([reference])))
    (found,) = turn.messages[2].blocks
    assert found["type"] == "tool_result" and not isinstance(found["content"], str)
    (told,) = found["content"]
    assert told == text('{"type": "tool_reference", "tool_name": "look"}')


def test_thoughts_stay_where_they_were() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "S"}
    on = {"thinking": {"type": "adaptive"}}
    said = [thought, MCP, {**TOLD, "content": "x"}, text("So.")]
    turn = parse(user(text("q")), assistant(*said), user(text("q")), **on)
    assert turn.messages[1].blocks[0] == thought
    assert set(THOUGHTS) < {*ASSISTANT_TYPES}
