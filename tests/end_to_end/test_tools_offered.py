"""The set of tools and their names through official clients, mitmdump, and the Claude CLI.

`EVERY_CLIENT=1 scripts/test` with this file takes every client and name, not a few.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.responses_talks import Responses, ResponsesChain
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import ADD, LOOK, MESSAGES, Chat, Client, MessagesStream, tool
from tests.support.tools_stage import assert_offered, assert_seen, chosen, clients, name, proxy

__all__ = ["name", "proxy"]


@clients(Chat)
def test_the_tools_may_change_between_turns(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name, LOOK)
    assert talk.begin("My name is Tia. [call add]").text.endswith("I have no tool add.")
    talk.tools = (LOOK, ADD)
    assert [call.name for call in talk.say("[call add][call look]").calls] == ["add", "look"]
    talk.give("3", "sunny")
    assert_offered(api, talk)
    talk.tools = (tool("look", where="string"),)
    assert talk.say("Who am I?").text == "Your name is Tia."
    assert_seen(api, talk)
    assert_offered(api, talk)


@clients(MessagesStream, ResponsesChain)
def test_the_tools_may_change_while_calls_are_open(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name, LOOK)
    talk.begin("My name is Tia. [call look]")
    talk.tools = (ADD,)
    assert [call.name for call in talk.give("sunny [call add]").calls] == ["add"]
    assert_offered(api, talk)
    assert_seen(api, talk)
    assert talk.give("3").text == "Returned: 3"
    assert_seen(api, talk)


@clients(Responses, every=[*MESSAGES, Chat, Responses])
def test_the_client_can_say_that_no_tool_is_to_be_used(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    none: Any = {"type": "none"} if client in MESSAGES else "none"
    talk = client(proxy, name, tool_choice=none)
    assert talk.begin("My name is Tia. [call look]").calls == ()
    talk.fields = {}
    assert [call.name for call in talk.say("[call look]").calls] == ["look"]
    talk.fields = {"tool_choice": none}
    assert talk.give("sunny [call look]").calls == ()
    assert_seen(api, talk)


NAMES = ["mcp__files__read", "mcp__client__look", "a" * 64, "Bash", "StructuredOutput", "a-b_C9"]
FEW = [(MessagesStream, "mcp__client__look"), (Chat, "StructuredOutput"), (Responses, "a" * 64)]
EVERY = [*product([MessagesStream, Chat, Responses], NAMES)]


@pytest.mark.parametrize(("client", "called"), chosen(FEW, EVERY))
def test_tools_keep_their_names(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str, called: str
) -> None:
    talk = client(proxy, name, tool(called, n="number"), LOOK)
    (call,) = talk.begin(f'[call {called} {{"n": 1}}]').calls
    assert (call.name, call.input) == (called, {"n": 1})
    assert talk.give("one [call look]").calls[0].name == "look"
    assert_seen(api, talk)
    assert_offered(api, talk)
