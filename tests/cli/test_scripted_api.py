"""The scripted Messages API is read by the official client as the real one is."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock

from sessionbridge.cli.demo.scripted_api import Body, Reply, Usage, conversation
from sessionbridge.cli.demo.scripted_events import events
from tests.support.proxy import ROOT
from tests.support.scripted_api import ScriptedServer, assistant, user

LOOK: Any = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
SHOUT: Any = {**LOOK, "name": "shout"}
STRUCTURED: Any = {**LOOK, "name": "StructuredOutput"}
PIXEL = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}


@pytest.fixture
def client(api: ScriptedServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=api.url, api_key="sk-ant-dummy", max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, *messages: Any, **fields: Any) -> Message:
    given: Any = {"tools": [LOOK, SHOUT]} | fields
    with client.messages.stream(
        model="claude-x", max_tokens=9_000, messages=messages, **given
    ) as stream:
        return stream.get_final_message()


def kinds(message: Message) -> list[str]:
    return [block.type for block in message.content]


def calls(message: Message) -> list[tuple[str, object]]:
    return [(b.name, b.input) for b in message.content if isinstance(b, ToolUseBlock)]


def said(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def results(message: Message, *contents: Any) -> Any:
    ids = [block.id for block in message.content if isinstance(block, ToolUseBlock)]
    given = [
        {"type": "tool_result", "tool_use_id": one} | content
        for one, content in zip(ids, contents, strict=True)
    ]
    return {"role": "user", "content": given}


def returned(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def test_without_commands_it_remembers_names(client: anthropic.Anthropic) -> None:
    answer = ask(client, user("My name is Bob."))
    assert (said(answer), answer.stop_reason) == ("Nice to meet you, Bob!", "end_turn")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"at": "é𝄞 \u2028\n", "deep": [{"a": None}, "]", "[call shout {}]"], "n": -1.5},
        {"long": "word " * 20_000},
    ],
    ids=["empty", "odd", "long"],
)
def test_a_call_has_the_input_it_was_told(client: anthropic.Anthropic, given: Any) -> None:
    answer = ask(client, user(f"Now. [call look {json.dumps(given)}] And then nothing."))
    assert kinds(answer) == ["text", "tool_use"]
    assert (said(answer), answer.stop_reason) == ("Now.", "tool_use")
    assert calls(answer) == [("look", given)]


def test_calls_can_be_parallel_and_have_ids_of_their_own(client: anthropic.Anthropic) -> None:
    words = user('[call look][call shout {"at": 1}] [call look {"at": 2}]')
    first, again = ask(client, words), ask(client, words)
    assert calls(first) == [("look", {}), ("shout", {"at": 1}), ("look", {"at": 2})]
    ids = [b.id for m in (first, again) for b in m.content if isinstance(b, ToolUseBlock)]
    assert len(set(ids)) == 6 and all(one.startswith("toolu_") for one in ids)


@pytest.mark.parametrize("tools", [[SHOUT], []])
def test_a_tool_that_is_not_offered_is_missed(client: anthropic.Anthropic, tools: Any) -> None:
    answer = ask(client, user("[call look]"), tools=tools)
    assert (said(answer), answer.stop_reason) == ("I have no tool look.", "end_turn")


def test_results_are_quoted(client: anthropic.Anthropic) -> None:
    words = user("[call look][call look][call look][call look][call look][call look]")
    asked = ask(client, words)
    given = results(
        asked,
        returned("sunny"),
        {"content": "a string"},
        {"content": "no such place", "is_error": True},
        {},
        {"content": [{"type": "text", "text": "see"}, PIXEL]},
        returned("x" * 600_000),
    )
    given["content"].append({"type": "text", "text": "<system-reminder>not said</system-reminder>"})
    answer = ask(client, words, {"role": "assistant", "content": asked.content}, given)
    quoted = f"{'x' * 300}… of 600000 characters"
    told = f"sunny; a string; failed: no such place; nothing; see + image; {quoted}"
    assert said(answer) == f"Returned: {told}"
    assert answer.stop_reason == "end_turn"


def test_the_last_result_can_ask_for_another_round(client: anthropic.Anthropic) -> None:
    talk: list[Any] = [user("[call look][call look]")]
    for text in ('On. [call shout {"n": 1}]', "[call look]", "the end"):
        asked = ask(client, *talk)
        contents = [returned("[call nobody obeys]")] * (len(calls(asked)) - 1) + [returned(text)]
        talk += [{"role": "assistant", "content": asked.content}, results(asked, *contents)]
        last = asked
    assert calls(last) == [("look", {})]
    assert said(ask(client, *talk)) == "Returned: the end"


def test_a_question_after_the_results_counts(client: anthropic.Anthropic) -> None:
    words = user("[call look]")
    asked = ask(client, words)
    given = results(asked, returned("sunny"))
    given["content"].append({"type": "text", "text": "Again. [call shout]"})
    answer = ask(client, words, {"role": "assistant", "content": asked.content}, given)
    assert calls(answer) == [("shout", {})]


@pytest.mark.parametrize(
    ("thinking", "thought"),
    [
        ({"type": "enabled", "budget_tokens": 2_000}, "Hm, let me see."),
        ({"type": "adaptive"}, "Hm, let me see."),
        ({"type": "adaptive", "display": "omitted"}, ""),
        ({"type": "disabled"}, None),
        (None, None),
    ],
)
def test_it_thinks_where_that_is_on(
    client: anthropic.Anthropic, thinking: Any, thought: str | None
) -> None:
    fields = {} if thinking is None else {"thinking": thinking}
    answer = ask(client, user("Well. [think Hm, let me see.] [call look]"), **fields)
    assert kinds(answer) == ["thinking"] * (thought is not None) + ["text", "tool_use"]
    for block in answer.content:
        if isinstance(block, ThinkingBlock):
            assert block.thinking == thought and block.signature


def test_structured_output_is_called_where_it_is_offered(client: anthropic.Anthropic) -> None:
    words = user('My name is Bob. [structured {"name": "Bob"}]')
    answer = ask(client, words, tools=[STRUCTURED])
    assert calls(answer) == [("StructuredOutput", {"name": "Bob"})]
    assert said(ask(client, words)) == "Nice to meet you, Bob!"


def test_an_answer_can_end_for_its_length(client: anthropic.Anthropic) -> None:
    answer = ask(client, user("My name is Bob. [max_tokens]"))
    assert (said(answer), answer.stop_reason) == ("Nice to meet you, Bob!", "max_tokens")
    assert ask(client, user("[call look][max_tokens]")).stop_reason == "max_tokens"


def test_a_gate_stands_before_a_call(client: anthropic.Anthropic, api: ScriptedServer) -> None:
    with client.messages.stream(
        model="claude-x", max_tokens=9, tools=[LOOK], messages=[user("[gate tools][call look]")]
    ) as stream:
        assert next(stream.text_stream) == "before the gate "
        api.open_gate("tools")
        answer = stream.get_final_message()
    assert kinds(answer) == ["text", "tool_use"]


def test_failures_come_first(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.RateLimitError, match="scripted 429"):
        ask(client, user("[call look] [fail 429]"))
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        ask(client, user("[fail 400 too long]"))


def test_all_rounds_of_a_turn_are_heard(client: anthropic.Anthropic, api: ScriptedServer) -> None:
    words = user("My name is Ida. (scripted rounds) [call look]")
    asked = ask(client, words)
    given = results(asked, returned("three words long"))
    answer = ask(client, words, {"role": "assistant", "content": asked.content}, given)
    one, two = api.heard("(scripted rounds)")
    for message, call in ((asked, one), (answer, two)):
        assert isinstance(call.reply, Reply)
        counted = call.reply.usage
        assert message.usage.output_tokens == counted.output_tokens
        assert message.usage.cache_creation_input_tokens == counted.cache_creation_input_tokens
        assert message.usage.cache_read_input_tokens == counted.cache_read_input_tokens


def test_a_conversation_is_what_was_said_in_text() -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}
    body: Body = {
        "messages": [
            {"role": "user", "content": [PIXEL, {"type": "text", "text": "What is it?"}]},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
            assistant("A pixel."),
            {"role": "system", "content": "the CLI's"},
            {"role": "user", "content": [result, {"type": "text", "text": "Look again."}]},
        ]
    }
    assert conversation(body) == [
        ("user", "What is it?"),
        ("assistant", "A pixel."),
        ("user", "Look again."),
    ]


async def test_each_block_of_a_stream_has_its_index_and_its_end() -> None:
    content = (
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "text", "text": ("a", "b")},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
    )
    reply = Reply((), Usage(1, 2, 3, 4), content=content)
    message = {"id": "msg_1", "model": "claude-x", "usage": {}}
    told = [event async for event in events(message, reply.blocks, reply.ends_with, 2)]
    assert [(e["type"].removeprefix("content_block_"), e.get("index")) for e in told] == [
        ("message_start", None),
        *(("start", 0), ("delta", 0), ("delta", 0), ("stop", 0)),
        *(("start", 1), ("stop", 1)),
        *(("start", 2), ("delta", 2), ("delta", 2), ("stop", 2)),
        *(("start", 3), ("stop", 3)),
        *(("message_delta", None), ("message_stop", None)),
    ]
    assert told[5]["content_block"] == content[1]
    assert told[-2]["delta"]["stop_reason"] == "tool_use"


def test_no_two_files_of_tests_have_a_gate_of_the_same_name() -> None:
    """One server serves all tests of a worker: a gate that is open, or that an answer waits at, is
    so for all of them."""
    files: defaultdict[str, set[Path]] = defaultdict(set)
    for folder in ("claude", "cli", "end_to_end", "proxy", "turns"):
        for path in (ROOT / "tests" / folder).glob("*.py"):
            for name in re.findall(r"\[gate ([^\]{}]+)\]", path.read_text("utf-8")):
                files[name].add(path)
    assert {name: found for name, found in files.items() if len(found) > 1} == {}
