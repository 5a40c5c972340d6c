"""Conversations with tools that branch: official clients, mitmdump, and the Claude CLI.

`EVERY_CLIENT=1 scripts/test tests/end_to_end/test_tools_branches.py` takes every client, not a few.
"""

from __future__ import annotations

from tests.support.proxy import Proxy
from tests.support.responses_talks import ResponsesChain, ResponsesChainStream
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import Chat, Client, MessagesStream, Talk
from tests.support.tools_stage import assert_seen, clients, name, proxy, ways

__all__ = ["name", "proxy"]


def assert_returned(api: ScriptedServer, talk: Talk, result: str) -> None:
    """The open call is answered with the result of this talk, and of no other."""
    assert talk.give(result).text == f"Returned: {result}"
    assert_seen(api, talk)


@clients(MessagesStream, ResponsesChain)
def test_a_conversation_with_tools_can_branch(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name)
    talk.begin("My name is Tia. [call look]")
    talk.give("sunny")
    for words in ("Red. [call add]", "Blue. [call add]"):
        one = talk.branch()
        one.say(words)
        assert_seen(api, one)
        one.give("3")
        assert_seen(api, one)
        assert one.say("Who am I?").text == "Your name is Tia."
        assert_seen(api, one)
    reasons = [reason for _, reason in ways(proxy, talk, 8)]
    assert reasons[2:] == [
        *("continued", "tool_results", "continued"),
        *("branched", "tool_results", "continued"),
    ]


@clients(Chat, ResponsesChain)
def test_calls_can_be_answered_in_two_ways(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name)
    talk.begin("My name is Tia. [call look]")
    branches = [talk.branch(), talk.branch()]
    for one, text in zip(branches, ("sun [call add]", "rain [call add]"), strict=True):
        one.give(text)
        assert_seen(api, one)
    for one in branches:
        assert_returned(api, one, "3")
        assert one.say("Who am I?").text == "Your name is Tia."
        assert_seen(api, one)


@clients(MessagesStream)
def test_results_that_come_twice_are_answered_twice(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    """The client has not got the first answer."""
    talk = client(proxy, name)
    talk.begin("My name is Tia. [call look]")
    again = talk.branch()
    for one in (talk, again):
        assert_returned(api, one, "sunny")
    again.say("Who am I?")
    assert_seen(api, again)


@clients(Chat, ResponsesChain)
def test_calls_that_are_left_open_are_forgotten(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    """The user has stopped the agent and says something else instead."""
    talk = client(proxy, name)
    talk.begin("My name is Tia.")
    left = talk.branch()
    left.say("Red. [call look]")
    talk.say("Blue. [call add]")
    assert_seen(api, talk)
    assert_returned(api, talk, "3")
    assert_returned(api, left, "sunny")


@clients(ResponsesChain, every=[ResponsesChain, ResponsesChainStream])
def test_a_chain_of_responses_can_go_on_from_any_of_them(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name)
    talk.begin("My name is Tia.")
    kept = [talk.branch()]
    for words in ("Red. [call look]", "Green. [call look]"):
        talk.say(words)
        talk.give("sunny")
        kept.append(talk.branch())
    for one in reversed(kept):
        one.say("Blue. [call add]")
        assert_seen(api, one)
        assert_returned(api, one, "3")
