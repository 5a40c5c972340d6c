"""Conversations through real parts: starting over, retrying, losing, and clients without an id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.proxy import Proxy, running_proxy, said
from tests.support.scripted_api import ScriptedServer, assistant, user

CHAT = "https://api.openai.com/v1/chat/completions"


def ask(proxy: Proxy, headers: dict[str, str], *messages: Any, **extra: str) -> str:
    completion = proxy.openai(headers | {name.replace("_", "-"): v for name, v in extra.items()})
    answer = completion.chat.completions.create(model="gpt-4o", messages=list(messages))
    return answer.choices[0].message.content or ""


def reasons(proxy: Proxy, external_id: str, count: int) -> list[str]:
    return [flow["metadata"]["reason"] for flow in proxy.bridged(external_id, count)]


def test_a_user_starts_over(proxy: Proxy, api: ScriptedServer) -> None:
    headers = {"X-GoClaw-User-Id": "starter"}
    ask(proxy, headers, user("My name is Sam."))
    answer = ask(proxy, headers, user("Who am I? (anew)"), x_sessionbridge_new="1")
    assert answer == "I do not know your name yet."
    ask(proxy, headers, user("And now? (anew)"))

    assert [len(shown) for shown in api.seen("(anew)")] == [1, 3]
    assert reasons(proxy, "agent:default:http:direct:starter", 3) == [
        "first_turn",
        "started_over",
        "appended",
    ]


def test_a_turn_sent_twice_is_one_turn(proxy: Proxy, api: ScriptedServer) -> None:
    """The library never saw the answer and sends the request again."""
    headers = {"X-GoClaw-User-Id": "retrier"}
    ask(proxy, headers, user("My name is Tom."))
    ask(proxy, headers, user("Count me. (retry)"), idempotency_key="turn-2")
    ask(proxy, headers, user("Count me. (retry)"), idempotency_key="turn-2")
    ask(proxy, headers, user("Go on. (after retry)"))

    texts = [text for role, text in api.seen("(after retry)")[0] if role == "user"]
    assert texts == ["My name is Tom.", "Count me. (retry)", "Go on. (after retry)"]
    assert reasons(proxy, "agent:default:http:direct:retrier", 4)[2] == "retried"


def test_a_conversation_of_the_api_is_of_use_to_who_began_it(
    proxy: Proxy, api: ScriptedServer
) -> None:
    ann = proxy.openai({})
    bob = ann.with_options(api_key="sk-of-somebody-else")

    def respond(client: openai.OpenAI, words: str) -> str:
        name = "conv_of_ann"
        answer = client.responses.create(model="gpt-4o", input=words, conversation=name)
        return answer.output_text

    respond(ann, "My name is Ann.")
    with pytest.raises(openai.NotFoundError, match="'conv_of_ann' not found"):
        respond(bob, "Who am I? (bob)")
    assert api.seen("(bob)") == []
    assert respond(ann, "Who am I? (ann)") == "Your name is Ann."


def test_two_apis_share_a_conversation(proxy: Proxy, api: ScriptedServer) -> None:
    headers = {"X-OpenClaw-Session": "both-apis"}
    history = [user("My name is Bea."), assistant("")]
    history[1]["content"] = ask(proxy, headers, history[0])
    question = user("Who am I? (both)")
    answer = proxy.anthropic(headers).messages.create(
        model="sonnet", max_tokens=9, messages=[*history, question]
    )
    history += [question, assistant(said(answer))]
    ask(proxy, headers, *history, user("Still? (both)"))

    assert reasons(proxy, "both-apis", 3) == ["first_turn", "continued", "continued"]
    assert [len(shown) for shown in api.seen("(both)")] == [3, 5]


def test_edit_and_regenerate_leave_the_other_branch_whole(
    proxy: Proxy, api: ScriptedServer
) -> None:
    headers = {"X-OpenClaw-Session": "branches"}
    history = [user("My name is Eva.")]
    history.append(assistant(ask(proxy, headers, *history)))
    first = user("I like tea. (branch)")
    tea = [*history, first, assistant(ask(proxy, headers, *history, first))]
    ask(proxy, headers, *history, first)
    edited = user("I like milk. (branch)")
    milk = [*history, edited, assistant(ask(proxy, headers, *history, edited))]
    ask(proxy, headers, *tea, user("Go on with tea. (end)"))
    ask(proxy, headers, *milk, user("Go on with milk. (end)"))

    assert reasons(proxy, "branches", 6) == [
        *("first_turn", "continued", "retried", "branched", "continued", "continued")
    ]
    one, other = api.seen("(end)")
    assert [text for _, text in one] == [m["content"] for m in tea] + ["Go on with tea. (end)"]
    assert [text for _, text in other] == [m["content"] for m in milk] + ["Go on with milk. (end)"]


def test_a_memory_that_only_the_bridge_held_can_be_missed_aloud(
    tmp_path: Path, api: ScriptedServer
) -> None:
    headers = {"X-GoClaw-User-Id": "missed"}
    with running_proxy(tmp_path, api.url, options={"memory_lost": "error"}) as proxy:
        ask(proxy, headers, user("My name is Meg."))
        for transcript in (tmp_path / "claude" / "projects").rglob("*.jsonl"):
            transcript.unlink()
        with pytest.raises(openai.ConflictError, match="gone"):
            ask(proxy, headers, user("Who am I?"))
        assert ask(proxy, headers, user("Who am I?")) == "I do not know your name yet."


def test_clients_without_an_id_are_known_by_how_they_begin(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with running_proxy(tmp_path, api.url, options={"unkeyed": "fingerprint"}) as proxy:
        chats = []
        for name in ("Ann", "Ben"):
            history = [user("Hello."), assistant(ask(proxy, {}, user("Hello.")))]
            history.append(user(f"My name is {name}."))
            chats.append([*history, assistant(ask(proxy, {}, *history))])
        for chat in chats:
            ask(proxy, {}, *chat, user("Who am I? (fingerprint)"))
        plans = [flow["metadata"]["plan"] for flow in proxy.flows()]

    answers = [shown[2] for shown in api.seen("(fingerprint)")]
    assert answers == [("user", "My name is Ann."), ("user", "My name is Ben.")]
    assert "import" not in plans
