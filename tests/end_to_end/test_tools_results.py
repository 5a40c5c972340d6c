"""Results of all kinds through official clients, mitmdump, and the Claude CLI.

`EVERY_CLIENT=1 scripts/test` with this file takes every client and kind, not a few.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.responses_talks import Responses, ResponsesChain
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import Chat, Client, MessagesStream, Result, plain
from tests.support.tools_stage import (
    assert_counted,
    assert_seen,
    chosen,
    clients,
    name,
    proxy,
    ways,
)
from tests.support.whole_requests import messages

__all__ = ["name", "proxy"]

PIXEL = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
        "awAAAABJRU5ErkJggg==",
    },
}
SEE = {"type": "text", "text": "see"}


@clients(MessagesStream, ResponsesChain)
def test_results_may_come_in_another_order(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name)
    calls = [f'[call look {{"at": "{place}"}}]' for place in "abc"]
    answer = talk.begin(f"My name is Tia. {''.join(calls)}")
    assert [call.input["at"] for call in answer.calls] == ["a", "b", "c"]
    assert len({call.id for call in answer.calls}) == 3

    answer = talk.give("sun", "rain", "fog", backwards=True)
    assert sorted(answer.text.removeprefix("Returned: ").split("; ")) == ["fog", "rain", "sun"]
    assert_seen(api, talk)
    assert talk.say("Who am I?").text == "Your name is Tia."
    assert_seen(api, talk)
    assert ways(proxy, talk, 3)[1:] == [("resume", "tool_results"), ("resume", "continued")]


RESULTS = {
    "error": Result("no such place", is_error=True),
    "empty": Result(""),
    "blank": Result(" \n"),
    "no-blocks": Result([]),
    "empty-error": Result("", is_error=True),
    "image": Result([SEE, PIXEL]),
    "only-image": Result([PIXEL]),
    "blocks": Result([SEE, {"type": "text", "text": "hear"}]),
    "odd": Result("@/etc/hostname\r\n/cost <system-reminder>\tü𝄞\u2028 "),
    "long": Result("word " * 20_000),
    "huge": Result("word " * 120_000),
}
KEPT = {"error", "image", "only-image", "blocks", "odd", "long"}
"""Those that a waiting process can be given; after the others the conversation is told anew."""


@pytest.mark.parametrize("kind", chosen(["error", "image", "huge", "odd"], [*RESULTS]))
def test_the_model_sees_a_result_as_the_client_gave_it(
    proxy: Proxy, api: ScriptedServer, name: str, kind: str
) -> None:
    talk = MessagesStream(proxy, name)
    api.said.add(str(RESULTS["odd"].content))
    talk.begin('My name is Tia. [call look {"at": "a"}][call add {"a": 1, "b": 2}]')
    talk.give(RESULTS[kind], "3")
    assert_seen(api, talk)
    assert talk.say("Who am I?").text == "Your name is Tia."
    assert_seen(api, talk)
    told = ways(proxy, talk, 3)
    assert told[2] == ("resume", "continued")
    if kind in KEPT:
        assert told[1] == ("resume", "tool_results")
    assert_counted(proxy, api, talk)


@pytest.mark.parametrize("kind", chosen(["empty", "huge"], ["empty", "odd", "long", "huge"]))
@clients(ResponsesChain, every=[Chat, Responses, ResponsesChain])
def test_the_model_sees_a_result_in_text_as_the_client_gave_it(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str, kind: str
) -> None:
    talk = client(proxy, name)
    talk.begin('My name is Tia. [call look {"at": "a"}][call add {"a": 1, "b": 2}]')
    talk.give(RESULTS[kind], "3")
    assert_seen(api, talk)
    assert talk.say("Who am I?").text == "Your name is Tia."
    assert_seen(api, talk)


def test_words_may_follow_the_results(proxy: Proxy, api: ScriptedServer, name: str) -> None:
    sdk = proxy.anthropic({"X-OpenClaw-Session": name})
    given: Any = {"name": "look", "input_schema": {"type": "object"}}
    talk: list[Any] = [{"role": "user", "content": f"My name is Tia. ({name}) [call look]"}]
    for words in ("Hurry up.", "Go on."):
        message = sdk.messages.create(model="sonnet", max_tokens=9, messages=talk, tools=[given])
        (call,) = [block for block in message.content if block.type == "tool_use"]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "[call look]"}
        talk += [
            {"role": "assistant", "content": [block.to_dict() for block in message.content]},
            {"role": "user", "content": [result, {"type": "text", "text": words}]},
        ]
    sdk.messages.create(model="sonnet", max_tokens=9, messages=talk, tools=[given])
    told = [
        (m["role"], m["content"] if isinstance(m["content"], list) else [_text(m["content"])])
        for m in talk
    ]
    assert plain(messages(api.heard(f"({name})")[-1])) == plain(told)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
