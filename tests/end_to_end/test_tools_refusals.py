"""What the APIs refuse of results: official clients, mitmdump, and the Claude CLI.

`EVERY_CLIENT=1 scripts/test tests/end_to_end/test_tools_refusals.py` takes every client, not a few.
"""

from __future__ import annotations

import anthropic
import openai
import pytest

from tests.support.proxy import Proxy
from tests.support.responses_talks import Responses, ResponsesChain
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import Chat, Client, Messages, MessagesStream
from tests.support.tools_stage import assert_seen, clients, name, proxy, ways

__all__ = ["name", "proxy"]

REFUSED = (anthropic.BadRequestError, openai.BadRequestError)


@clients(MessagesStream, ResponsesChain)
def test_a_result_that_is_missing_is_refused(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name)
    answer = talk.begin('[call look][call add {"a": 1, "b": 2}]')
    with pytest.raises(REFUSED) as refusal:
        talk.give("sunny", some=True)
    assert answer.calls[1].id in str(refusal.value)
    assert len(api.heard(talk.marker)) == 1

    assert talk.give("sunny", "3").text == "Returned: sunny; 3"
    assert_seen(api, talk)
    assert ways(proxy, talk, 3)[-1] == ("resume", "tool_results")


@clients(Chat, ResponsesChain)
def test_words_instead_of_results_are_refused(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name)
    (call,) = talk.begin("[call look]").calls
    with pytest.raises(REFUSED) as refusal:
        talk.say("Never mind.")
    assert call.id in str(refusal.value)
    assert len(api.heard(talk.marker)) == 1

    assert talk.give("sunny").text == "Returned: sunny"
    assert_seen(api, talk)
    assert ways(proxy, talk, 3)[-1] == ("resume", "tool_results")


@clients(Messages, every=[Messages, Chat, Responses])
def test_a_result_that_nobody_asked_for_is_refused(
    proxy: Proxy, api: ScriptedServer, client: Client, name: str
) -> None:
    talk = client(proxy, name)
    talk.begin("[call look]")
    other = client(proxy, f"{name}-other")
    (call,) = other.begin("[call look]").calls
    talk.last = other.last
    with pytest.raises(REFUSED) as refusal:
        talk.give("sunny")
    assert call.id in str(refusal.value)
    assert len(api.heard(talk.marker)) == 1
