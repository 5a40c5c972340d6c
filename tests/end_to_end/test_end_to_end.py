"""The main job through real parts: an unchanged client, mitmdump, and the Claude CLI."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import Proxy, running_proxy, said
from tests.support.scripted_api import ScriptedServer, assistant, user

Chat = Callable[[list[Any]], str]


def messages_json(proxy: Proxy, headers: dict[str, str], http2: bool) -> Chat:
    client = proxy.anthropic(headers, http2=http2)

    def ask(messages: list[Any]) -> str:
        with client.messages.with_streaming_response.create(
            model="sonnet", max_tokens=100, messages=messages
        ) as response:
            assert response.http_response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            return said(response.parse())

    return ask


def messages_stream(proxy: Proxy, headers: dict[str, str], http2: bool) -> Chat:
    client = proxy.anthropic(headers, http2=http2)

    def ask(messages: list[Any]) -> str:
        with client.messages.stream(model="sonnet", max_tokens=100, messages=messages) as stream:
            return stream.get_final_text()

    return ask


def chat_json(proxy: Proxy, headers: dict[str, str], http2: bool) -> Chat:
    client = proxy.openai(headers, http2=http2)

    def ask(messages: list[Any]) -> str:
        completion = client.chat.completions.create(model="gpt-4o", messages=messages)
        return completion.choices[0].message.content or ""

    return ask


def chat_stream(proxy: Proxy, headers: dict[str, str], http2: bool) -> Chat:
    client = proxy.openai(headers, http2=http2)

    def ask(messages: list[Any]) -> str:
        chunks = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    return ask


CLIENTS = [messages_json, messages_stream, chat_json, chat_stream]


@pytest.mark.acceptance(11, 16, 17, 22)
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_second_message_is_answered_by_the_session_of_the_first(
    proxy: Proxy, api: ScriptedServer, client: Any, http2: bool
) -> None:
    name = f"{client.__name__}-{http2}"
    ask = client(proxy, {"X-OpenClaw-Session": name}, http2)
    hello = f"My name is Bob. ({name})"

    first = ask([user(hello)])
    question = f"What is my name? ({name})"
    second = ask([user(hello), assistant(first), user(question)])

    assert (first, second) == ("Nice to meet you, Bob!", "Your name is Bob.")
    assert api.seen(question) == [[("user", hello), ("assistant", first), ("user", question)]]
    one, two = (flow["metadata"] for flow in proxy.bridged(name, 2))
    assert (one["plan"], one["reason"]) == ("fresh", "first_turn")
    assert (two["plan"], two["reason"]) == ("resume", "continued")
    assert one["session"] == two["session"]


@pytest.mark.acceptance(23, 30)
def test_a_client_that_sends_only_the_new_message_is_remembered(
    proxy: Proxy, api: ScriptedServer
) -> None:
    client = proxy.openai({"X-GoClaw-User-Id": "alice"})
    answers = [
        client.chat.completions.create(model="gpt-4o", messages=[user(text)]).choices[0].message
        for text in ("My name is Alice. (goclaw)", "What is my name? (goclaw)")
    ]

    assert answers[1].content == "Your name is Alice."
    assert len(api.seen("What is my name? (goclaw)")[0]) == 3


@pytest.mark.acceptance(1, 10, 17)
def test_memory_survives_a_restart_of_the_proxy(tmp_path: Path, api: ScriptedServer) -> None:
    headers = {"X-GoClaw-User-Id": "restarted"}
    with running_proxy(tmp_path, api.url) as proxy:
        chat_json(proxy, headers, False)([user("My name is Rita.")])
    with running_proxy(tmp_path, api.url) as proxy:
        assert chat_json(proxy, headers, False)([user("And I am?")]) == "Your name is Rita."
        assert [flow["metadata"]["plan"] for flow in proxy.flows()] == ["fresh", "resume"]


@pytest.mark.acceptance(4, 28, 32)
def test_users_and_platforms_never_share_a_session(proxy: Proxy, api: ScriptedServer) -> None:
    origins = [
        {"X-GoClaw-User-Id": "shared-id"},
        {"X-GoClaw-User-Id": "other-id"},
        {"X-OpenClaw-Session": "shared-id"},
        {"X-Session-Id": "shared-id"},
    ]
    for number, headers in enumerate(origins):
        chat_json(proxy, headers, False)([user(f"My name is Person{number}.")])
    for number, headers in enumerate(origins):
        answer = chat_json(proxy, headers, False)([user("Who am I? (isolation)")])
        assert answer == f"Your name is Person{number}."

    assert all(len(spoken) == 3 for spoken in api.seen("Who am I? (isolation)"))


@pytest.mark.acceptance(12, 33)
def test_two_first_turns_at_once_end_in_one_session(proxy: Proxy, api: ScriptedServer) -> None:
    ask = chat_json(proxy, {"X-GoClaw-User-Id": "twin"}, False)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, ([user("My name is Twin.")], [user("I like tea. (twin)")])))

    ask([user("Go on. (twin)")])

    shown = api.seen("Go on. (twin)")[0]
    assert {text for role, text in shown if role == "user"} == {
        "My name is Twin.",
        "I like tea. (twin)",
        "Go on. (twin)",
    }
    flows = proxy.bridged("agent:default:http:direct:twin", 3)
    assert len({flow["metadata"]["session"] for flow in flows}) == 1


@pytest.mark.acceptance(14, 15, 18)
def test_usage_is_equal_in_response_flow_ledger_and_api(proxy: Proxy, api: ScriptedServer) -> None:
    client = proxy.anthropic({"X-OpenClaw-Session": "usage"})
    history: list[Any] = [user("My name is Uma. (usage)")]
    first = client.messages.create(model="sonnet", max_tokens=9, messages=history)
    history += [assistant(said(first)), user("Who am I? (usage)")]
    response = client.messages.with_raw_response.create(
        model="sonnet", max_tokens=9, messages=history
    )
    answered = response.parse()

    (counted,) = api.usages("Who am I? (usage)")
    assert answered.usage.model_dump(include=set(counted)) == counted
    assert counted["cache_read_input_tokens"] > 0
    (ledger,) = rows(
        proxy, "SELECT * FROM turns WHERE id = ?", response.headers["x-sessionbridge-turn"]
    )
    assert {name: ledger[name] for name in counted} == counted
    flow = proxy.bridged("usage", 2)[-1]
    assert flow["metadata"]["usage"] == counted
    assert flow["metadata"]["cost_usd"] == pytest.approx(ledger["cost_usd"])
    assert 0 < ledger["cost_usd"] < 0.01
    assert flow["marked"] == ":link:"
    assert "resume continued · openclaw · claude-sonnet" in flow["comment"]


@pytest.mark.acceptance(14)
def test_a_chat_stream_ends_with_the_real_usage(proxy: Proxy, api: ScriptedServer) -> None:
    client = proxy.openai({"X-OpenClaw-Session": "chat-usage"})
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o",
            messages=[user("My name is Cleo. (chat usage)")],
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    (counted,) = api.usages("(chat usage)")
    usage = chunks[-1].usage
    assert usage is not None and chunks[-1].choices == []
    assert usage.prompt_tokens == (
        counted["input_tokens"]
        + counted["cache_read_input_tokens"]
        + counted["cache_creation_input_tokens"]
    )
    assert usage.completion_tokens == counted["output_tokens"]


def test_text_reaches_the_client_while_the_model_still_speaks(
    proxy: Proxy, api: ScriptedServer
) -> None:
    client = proxy.anthropic({"X-OpenClaw-Session": "token-by-token"})
    with client.messages.stream(
        model="sonnet", max_tokens=9, messages=[user("Speak. [gate live]")]
    ) as stream:
        texts = stream.text_stream
        assert next(texts) == "before the gate "
        api.open_gate("live")
        assert next(texts) == "after the gate"


def test_no_connection_to_the_real_api_is_even_tried(proxy: Proxy) -> None:
    messages_json(proxy, {"X-OpenClaw-Session": "no-upstream"}, False)([user("Hello.")])

    assert proxy.flows()[-1]["url"] == "https://api.anthropic.com/v1/messages"
    assert proxy.connected_hosts() == {"127.0.0.1"}


def test_flows_keep_no_secret_and_show_the_body(proxy: Proxy) -> None:
    messages_stream(proxy, {"X-OpenClaw-Session": "shown"}, False)([user("My name is Zoe.")])

    (flow,) = proxy.bridged("shown", 1)
    assert not [name for name in flow["headers"] if name.lower().startswith("x-sessionbridge")]
    assert "Zoe" in flow["body"] and "message_stop" in flow["body"]


def rows(proxy: Proxy, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(proxy.database)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(sql, values)]


def test_nothing_said_is_in_the_database_or_the_log(proxy: Proxy) -> None:
    secret = "xylophone-4711"
    messages_json(proxy, {"X-OpenClaw-Session": "quiet"}, False)([user(f"Keep {secret}.")])

    stored = b"".join(p.read_bytes() for p in proxy.database.parent.glob("session_map.db*"))
    assert secret.encode() not in stored
    assert secret not in proxy.log
    assert "sk-ant-client-key" not in proxy.log
    assert secret not in json.dumps([f["metadata"] for f in proxy.flows()])
