"""Rounds of the client's own tools through official clients, mitmdump, and the Claude CLI.

`EVERY_CLIENT=1 scripts/test tests/end_to_end/test_tools_rounds.py` takes every client, not a few.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from anthropic import beta_tool

from sessionbridge.cli.demo.scripted_api import Reply
from tests.support.proxy import Proxy, running_proxy
from tests.support.responses_talks import ResponsesChain
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import Chat, Client, Messages, Talk
from tests.support.tools_stage import (
    ALL,
    COUNTS,
    OPTIONS,
    assert_counted,
    assert_offered,
    assert_seen,
    chosen,
    clients,
    name,
    proxy,
    ways,
)

__all__ = ["name", "proxy"]

ROUNDS: list[tuple[str, ...]] = [
    ('sunny [call add {"a": 1, "b": 2}]',),
    ('3 [call look {"at": "b"}] [call add {"a": 3, "b": 4}]',),
    ("rain", '7 [call look {"at": "c"}]'),
    ('fog [call add {"a": 5, "b": 6}]',),
    ("the sum is 11",),
]
BEGIN = 'My name is Tia. [call look {"at": "a"}]'


def five_rounds(talk: Talk, api: ScriptedServer) -> Iterator[None]:
    """Yields after each answer."""
    answer = talk.begin(BEGIN)
    assert [(call.name, call.input) for call in answer.calls] == [("look", {"at": "a"})]
    assert answer.text == f"{talk.marker} My name is Tia."
    yield
    for results in ROUNDS:
        assert answer.stop == talk.stops[0]
        assert_seen(api, talk)
        answer = talk.give(*results)
        yield
    assert answer.calls == () and answer.text == "Returned: the sum is 11"
    assert answer.stop == talk.stops[1]
    assert_seen(api, talk)
    assert_offered(api, talk)


@clients(*ALL)
def test_one_process_goes_through_all_rounds(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    before = set(proxy.children())
    talk = client(proxy, name)
    pids = set()
    for _ in five_rounds(talk, api):
        pids |= set(proxy.children()) - before
    assert talk.say("Who am I?").text == "Your name is Tia."
    pids |= set(proxy.children()) - before

    assert len(pids) == 1
    assert_seen(api, talk)
    assert len(api.heard(talk.marker)) == 7
    results = [("resume", "tool_results")] * 5
    assert ways(proxy, talk, 7) == [("fresh", "first_turn"), *results, ("resume", "continued")]
    flows = proxy.bridged(talk.name, 7)
    assert len({flow["metadata"]["session"] for flow in flows}) == 1
    assert_counted(proxy, api, talk)


def test_each_answer_says_what_it_cost(proxy: Proxy, api: ScriptedServer, name: str) -> None:
    """And its headers say how it came about."""
    sdk = proxy.anthropic({"X-OpenClaw-Session": name})
    given: dict[str, Any] = {"name": "look", "input_schema": {"type": "object"}}
    talk: list[Any] = [{"role": "user", "content": f"({name}) [call look]"}]
    request: Any = {"model": "sonnet", "max_tokens": 9, "messages": talk, "tools": [given]}
    usages, told = [], []
    for text in ("[call look]", "[call look]", "the end"):
        raw = sdk.messages.with_raw_response.create(**request)
        message = raw.parse()
        usages.append(message.usage.model_dump(include=set(COUNTS)))
        told.append((raw.headers["x-sessionbridge-plan"], raw.headers["x-sessionbridge-reason"]))
        (call,) = [block for block in message.content if block.type == "tool_use"]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": text}
        talk += [
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [result]},
        ]
    assert told == [("fresh", "first_turn"), *[("resume", "tool_results")] * 2]
    for call, usage in zip(api.heard(f"({name})"), usages, strict=True):
        assert isinstance(call.reply, Reply)
        assert usage == {one: getattr(call.reply.usage, one) for one in COUNTS}


def test_three_conversations_at_once_keep_to_themselves(
    proxy: Proxy, api: ScriptedServer, name: str
) -> None:
    before = set(proxy.children())
    kinds: list[Client] = [Messages, Chat, ResponsesChain]
    talks = [kind(proxy, f"{name}-{number}") for number, kind in enumerate(kinds)]

    def walk(talk: Talk) -> None:
        for _ in five_rounds(talk, api):
            pass

    with ThreadPoolExecutor(len(talks)) as pool:
        list(pool.map(walk, talks))
    assert len(set(proxy.children()) - before) == len(talks)
    for talk in talks:
        assert [reason for _, reason in ways(proxy, talk, 6)][1:] == ["tool_results"] * 5
        assert_counted(proxy, api, talk)


FEW = [(Messages, "stopped"), (Messages, "killed"), (ResponsesChain, "killed")]
EVERY = [(Messages, "stopped"), *((client, "killed") for client in ALL)]


@pytest.mark.parametrize(("client", "ending"), chosen(FEW, EVERY))
def test_results_are_understood_after_a_restart(
    tmp_path: Path, api: ScriptedServer, client: Client, name: str, ending: str
) -> None:
    talk: Talk
    with running_proxy(tmp_path, api.url, options=OPTIONS) as proxy:
        talk = client(proxy, name)
        talk.begin(BEGIN)
        for results in ROUNDS[:2]:
            talk.give(*results)
        if ending == "killed":
            proxy.process.kill()
            proxy.process.wait()
    with running_proxy(tmp_path, api.url, options=OPTIONS) as proxy:
        talk.moved(proxy)
        for results in ROUNDS[2:]:
            talk.give(*results)
            assert_seen(api, talk)
        assert talk.say("Who am I?").text == "Your name is Tia."
        assert_seen(api, talk)
        reasons = [reason for _, reason in ways(proxy, talk, 7)]
        assert reasons[3:] == ["tools_imported", "tool_results", "tool_results", "continued"]
        assert_counted(proxy, api, talk)


@pytest.mark.parametrize(
    ("answer", "held"),
    chosen(
        [("json", "by the client"), ("stream", "in a thread")],
        [*product(["json", "stream"], ["by the client", "in a thread"])],
    ),
)
def test_the_tool_runner_of_the_official_client_works(
    proxy: Proxy, api: ScriptedServer, name: str, answer: str, held: str
) -> None:
    """Unless it is told not to, it asks the API to hold the conversation, and sends only what is
    new."""
    added = []

    @beta_tool
    def add(a: int, b: int) -> str:
        """Adds.

        Args:
            a: one
            b: another
        """
        added.append((a, b))
        more = f'[call add {{"a": {a + b}, "b": 1}}]' * (2 if len(added) == 2 else 1)
        return f"{a + b} {more if len(added) < 6 else ''}"

    before = set(proxy.children())
    sdk = proxy.anthropic({"X-OpenClaw-Session": name})
    request: Any = {
        "model": "sonnet",
        "max_tokens": 900,
        "messages": [{"role": "user", "content": f'({name}) [call add {{"a": 1, "b": 1}}]'}],
        "tools": [add],
        **({} if held == "in a thread" else {"thread": False}),
    }
    if answer == "stream":
        final = sdk.beta.messages.tool_runner(**request, stream=True).until_done()
    else:
        final = sdk.beta.messages.tool_runner(**request).until_done()

    assert [block.type for block in final.content] == ["text"]
    assert added == [(1, 1), (2, 1), (3, 1), (3, 1), (4, 1), (5, 1)]
    calls = api.heard(f"({name})")
    assert len(calls) == 6
    assert len(set(proxy.children()) - before) == 1
    reasons = [flow["metadata"]["reason"] for flow in proxy.bridged(name, len(calls))]
    assert reasons == ["first_turn", *["tool_results"] * (len(calls) - 1)]
