"""A client has its conversation summarised and goes on from the summary: the official clients'
compaction, with the real CLI."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import Anthropic, beta_tool
from anthropic.types.beta import BetaMessage
from openai import BadRequestError

from sessionbridge.apis.common.summary import PROMPT, shown
from tests.support.proxy import Proxy
from tests.support.scripted_api import ScriptedServer, user

MODEL = "claude-sonnet-5"


def answer(text: str, **more: Any) -> str:
    """Instructions for a summary that the scripted API obeys."""
    said = {"content": [{"type": "text", "text": text}], **more}
    return f"[answer {json.dumps(said)}]"


def client(proxy: Proxy, name: str) -> Anthropic:
    return proxy.anthropic({"X-OpenClaw-Session": name})


def compacted(
    sdk: Anthropic, messages: list[Any], instructions: str | None = None, *, stream: bool = False
) -> BetaMessage:
    request: Any = {
        "model": MODEL,
        "max_tokens": 500,
        "system": "Be brief.",
        "messages": messages,
        "compaction": {"type": "summarize", "instructions": instructions},
        "betas": ["compact-2026-09-04"],
    }
    if not stream:
        made: BetaMessage = sdk.beta.messages.create(**request)
        return made
    with sdk.beta.messages.stream(**request) as events:
        return events.get_final_message()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_model_sees_the_summary_and_what_the_client_sent_after(
    proxy: Proxy, api: ScriptedServer, stream: bool
) -> None:
    name = f"compact-{stream}"
    sdk = client(proxy, name)
    history: list[Any] = [user(f"({name}) My name is Tia.")]
    said = sdk.messages.create(model=MODEL, max_tokens=500, messages=history)
    history += [{"role": "assistant", "content": said.content}]

    summary = f"({name}) The user said: My name is Tia."
    made = compacted(sdk, history, answer(summary), stream=stream)
    assert made.stop_reason == "compaction"
    (block,) = made.content
    assert block.type == "compaction"
    assert block.content == summary
    used = made.usage
    assert (used.input_tokens, used.output_tokens) == (0, 0)
    assert used.iterations is not None
    (spent,) = used.iterations
    assert spent.type == "compaction"
    assert spent.output_tokens > 0
    first, *_, asked = api.seen(summary)[-1]
    assert first == ("user", f"({name}) My name is Tia.")
    assert asked == ("user", answer(summary))

    history = [{"role": "assistant", "content": made.content}, user("Who am I?")]
    last = sdk.beta.messages.create(model=MODEL, max_tokens=500, messages=history)
    assert last.content[0].type == "text"
    assert "Tia" in last.content[0].text
    assert api.seen("Who am I?")[-1] == [("user", f"{shown(summary)['text']}\nWho am I?")]
    history += [{"role": "assistant", "content": last.content}, user("Are you sure?")]
    sdk.beta.messages.create(model=MODEL, max_tokens=500, messages=history)

    flows = proxy.bridged(name, 4)
    reasons = [flow["metadata"]["reason"] for flow in flows]
    assert reasons == ["first_turn", "summarized", "first_turn", "continued"]
    assert flows[1]["metadata"]["turn"] == flows[0]["metadata"]["turn"] + 1
    assert not list(proxy.home.rglob(f"{flows[1]['metadata']['session']}*"))


def test_it_asks_in_words_of_its_own_where_the_client_has_none(
    proxy: Proxy, api: ScriptedServer
) -> None:
    made = compacted(client(proxy, "own words"), [user("(own words) My name is Ida.")], " ")
    assert made.stop_reason == "compaction"
    assert api.seen("(own words)")[-1] == [("user", f"(own words) My name is Ida.\n{PROMPT}")]


@pytest.mark.parametrize("reason", ["max_tokens", "refusal"])
def test_half_a_summary_is_none(proxy: Proxy, reason: str) -> None:
    asked = answer("The user said", stop_reason=reason)
    made = compacted(client(proxy, reason), [user("My name is Ann.")], asked)
    assert (made.content, made.stop_reason) == ([], reason)
    assert made.usage.iterations


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_the_tool_runner_compacts_between_two_calls(
    proxy: Proxy, api: ScriptedServer, streamed: bool
) -> None:
    name = f"runner-{streamed}"
    added = []

    @beta_tool
    def add(a: int, b: int) -> str:
        """Adds.

        Args:
            a: one
            b: another
        """
        added.append((a, b))
        return f"{a + b}"

    request: Any = {
        "model": MODEL,
        "max_tokens": 500,
        "messages": [user(f'({name}) [call add {{"a": 1, "b": 2}}]')],
        "tools": [add],
        "betas": ["compact-2026-09-04"],
        "stream": streamed,
    }
    summary = f'({name}) 1 and 2 are 3. [call add {{"a": 3, "b": 4}}]'
    runner = client(proxy, name).beta.messages.tool_runner(**request)
    reasons: list[str | None] = []
    for turn in runner:
        message = turn.get_final_message() if streamed else turn
        if not reasons:
            runner.compact_before_next_turn({"type": "summarize", "instructions": answer(summary)})
        reasons.append(message.stop_reason)
    assert reasons == ["tool_use", "compaction", "tool_use", "end_turn"]
    assert added == [(1, 2), (3, 4)]
    begin = ("user", shown(summary)["text"])
    said = ("assistant", begin[1].partition(" [call")[0])
    assert [seen for seen in api.seen("") if seen[0] == begin] == [[begin], [begin, said]]


@pytest.mark.parametrize("held", ["by the client", "by an id"])
def test_a_response_is_compacted_and_its_client_goes_on(
    proxy: Proxy, api: ScriptedServer, held: str
) -> None:
    name = f"responses {held}"
    sdk = proxy.openai({"X-OpenClaw-Session": name})
    begin = f"({name}) My name is Eve."
    first = sdk.responses.create(model=MODEL, input=begin, instructions="Be brief.")
    history: Any = [{"role": "user", "content": begin}, *first.output]
    request: Any = {"input": history, "instructions": "Be brief."}
    if held == "by an id":
        request = {"previous_response_id": first.id}
    made = sdk.responses.compact(model=MODEL, **request)
    assert made.object == "response.compaction"
    *said, item = made.output
    assert item.type == "compaction"
    assert "Eve" not in item.encrypted_content
    assert len(said) == (1 if held == "by the client" else 0)
    assert made.usage.output_tokens > 0
    spoken = api.seen(PROMPT)[-1]
    assert [role for role, _ in spoken] == ["user", "assistant", "user"]
    assert spoken[0] == ("user", begin)
    assert spoken[-1] == ("user", PROMPT)

    # Its class for output has no place for what a user said.
    given: Any = [out.to_dict(warnings=False) for out in made.output]
    sdk.responses.create(model=MODEL, input=[*given, {"role": "user", "content": "Who am I?"}])
    (told,) = api.seen("Who am I?")[-1]
    summary = shown("Your name is Eve.")["text"]
    assert told == ("user", "\n".join([*([begin] if said else []), summary, "Who am I?"]))
    reasons = [flow["metadata"]["reason"] for flow in proxy.bridged(name, 3)]
    assert reasons == ["first_turn", "summarized", "first_turn"]
    given[-1]["encrypted_content"] = f"sb{given[-1]['encrypted_content']}"
    with pytest.raises(BadRequestError) as refused:
        sdk.responses.create(model=MODEL, input=given)
    assert refused.value.code == "invalid_encrypted_content"
    key = proxy.home / "bridge" / "summary-key"
    assert key.stat().st_mode & 0o777 == 0o600
