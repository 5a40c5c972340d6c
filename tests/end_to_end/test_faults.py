"""What goes wrong reaches the client in its API's own shape, and never costs the conversation."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.end_to_end.test_end_to_end import rows
from tests.support.proxy import Proxy, running_proxy, said, wait_for
from tests.support.raw_upstream import raw_upstream
from tests.support.scripted_api import ScriptedServer, assistant, user

MESSAGES = "https://api.anthropic.com/v1/messages"
CHAT = "https://api.openai.com/v1/chat/completions"
RESPONSES = "https://api.openai.com/v1/responses"
ONE_FOR_EACH_TURN = {"live": "0", "spare": "0"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    """No process of its outlives its turn, so that those there are belong to a turn."""
    home = tmp_path_factory.mktemp("proxy")
    with running_proxy(home, api.url, options=ONE_FOR_EACH_TURN) as running:
        yield running


def post(proxy: Proxy, url: str, session: str, body: Any) -> httpx.Response:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    headers = {"X-OpenClaw-Session": session, "content-type": "application/json"}
    return proxy.http().post(url, headers=headers, **content)


BAD_BODIES = {
    "not-json": (b"{", "JSON"),
    "no-messages": ({"model": "sonnet", "max_tokens": 1}, "messages"),
    "last-not-user": (
        {"model": "sonnet", "max_tokens": 1, "messages": [user("a"), assistant("b")]},
        "messages.1",
    ),
    "blank": ({"model": "sonnet", "max_tokens": 1, "messages": [user("  ")]}, "messages.0"),
    "unknown-block": (
        {
            "model": "sonnet",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": [{"type": "video"}]}],
        },
        "messages.0.content.0",
    ),
}


@pytest.mark.parametrize("url", [MESSAGES, CHAT], ids=["messages", "chat"])
@pytest.mark.parametrize("case", BAD_BODIES)
def test_a_request_that_cannot_be_served_is_refused_by_field(
    proxy: Proxy, api: ScriptedServer, url: str, case: str
) -> None:
    body, field = BAD_BODIES[case]
    session = f"bad-{case}-{url}"
    before = len(api.calls)

    response = post(proxy, url, session, body)

    assert response.status_code == 400
    error = response.json()["error"]
    assert field in error["message"] and error["type"] == "invalid_request_error"
    assert len(api.calls) == before
    assert proxy.children() == []
    if proxy.database.exists():
        assert not rows(proxy, "SELECT * FROM session_map WHERE external_id = ?", session)


API_FAILURES = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (413, anthropic.RequestTooLargeError, "request_too_large"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (529, anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize(
    ("streamed", "status", "expected", "kind"),
    [(number % 2 == 1, *failure) for number, failure in enumerate(API_FAILURES)],
)
def test_an_error_of_the_api_is_passed_on_and_the_conversation_goes_on(
    proxy: Proxy, api: ScriptedServer, streamed: bool, status: int, expected: Any, kind: str
) -> None:
    session = f"api-{status}"
    client = proxy.anthropic({"X-OpenClaw-Session": session})
    history = [user(f"My name is Fay. ({session})")]
    first = client.messages.create(model="sonnet", max_tokens=9, messages=history)
    history.append(assistant(said(first)))

    with pytest.raises(expected) as failure:
        client.messages.create(
            model="sonnet",
            max_tokens=9,
            messages=[*history, user(f"[fail {status}]")],
            stream=streamed,
        )
    assert failure.value.status_code == status
    assert failure.value.body["error"]["type"] == kind

    last = user(f"Who am I? ({session})")
    answer = client.messages.create(model="sonnet", max_tokens=9, messages=[*history, last])
    assert said(answer) == "Your name is Fay."
    assert [len(shown) for shown in api.seen(last["content"])] == [3]
    flows = proxy.bridged(session, 3)
    assert [f["metadata"]["turn"] is None for f in flows] == [False, True, False]
    assert ends(proxy, session) == ["end_turn", "end_turn"]  # the model has never begun


def test_too_long_is_an_honest_400_with_the_code_clients_look_for(proxy: Proxy) -> None:
    client = proxy.openai({"X-OpenClaw-Session": "too-long"})
    with pytest.raises(openai.BadRequestError) as failure:
        client.chat.completions.create(model="gpt-4o", messages=[user("[fail 400 too long]")])
    assert failure.value.code == "context_length_exceeded"


def test_the_api_says_when_to_come_back(tmp_path: Path, api: ScriptedServer) -> None:
    with running_proxy(tmp_path, api.url, options={"retries": "1"}) as proxy:
        client = proxy.anthropic({"X-OpenClaw-Session": "retry-after"})
        with pytest.raises(anthropic.RateLimitError) as failure:
            client.messages.create(model="sonnet", max_tokens=9, messages=[user("[fail 429]")])
    assert int(failure.value.response.headers["retry-after"]) >= 1
    assert len(api.seen("[fail 429]")) >= 2


def test_a_stream_that_breaks_ends_in_the_apis_own_error_event(proxy: Proxy) -> None:
    client = proxy.anthropic({"X-OpenClaw-Session": "broken"})
    said = ""
    with (
        pytest.raises(anthropic.APIStatusError) as failure,
        client.messages.stream(model="sonnet", max_tokens=9, messages=[user("[break]")]) as stream,
    ):
        for text in stream.text_stream:
            said += text
    assert said == "a beginning "
    assert failure.value.type == "api_error"
    assert ends(proxy, "broken") == ["failed"]


PROGRAMS = {
    "something else": (
        "echo Welcome; exec sleep 600",
        504,
        "The Claude CLI was not ready within 3 s; try again, and if that does not help see with "
        "`sessionbridge doctor`, on the proxy's machine, whether it works.",
    ),
    "what ends at once": (
        "exit 1",
        502,
        "The Claude CLI at {} ended by itself (exit code 1) before its answer was whole; try "
        "again, and if that does not help see with `sessionbridge doctor`, on the proxy's "
        "machine, whether sessionbridge_claude names a Claude CLI that works.",
    ),
    "an old version": (
        "echo \"error: unknown option '--system-prompt-snapshot'\" >&2; exit 1",
        502,
        "The Claude CLI at {} does not know the option --system-prompt-snapshot; install another "
        "version, which `sessionbridge doctor` names.",
    ),
    "what is killed": (
        "kill -9 $$",
        502,
        "The Claude CLI at {} was killed (signal 9) before its answer was whole; try again, and "
        "see whether the proxy's machine has run out of memory.",
    ),
}


@pytest.fixture(scope="module")
def another_program(
    tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer
) -> Iterator[tuple[Proxy, Path]]:
    """A proxy, and the program that it takes for the Claude CLI. It is started for each turn, so
    it may be another each time."""
    home = tmp_path_factory.mktemp("another")
    cli = home / "claude-cli"
    cli.write_text("#!/bin/sh\nexit 1\n")
    cli.chmod(0o755)
    options = ONE_FOR_EACH_TURN | {"claude": str(cli), "first_token_timeout": "3"}
    with running_proxy(home, api.url, options=options) as proxy:
        yield proxy, cli


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_no_claude_cli_is_told_with_what_to_do(
    another_program: tuple[Proxy, Path], program: str
) -> None:
    script, status, sentence = PROGRAMS[program]
    proxy, cli = another_program
    cli.write_text(f"#!/bin/sh\n{script}\n")
    response = post(proxy, CHAT, program, {"model": "sonnet", "messages": [user("Hi")]})
    assert response.status_code == status
    assert response.json()["error"]["message"] == sentence.format(cli)


EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "usage": {}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Half"}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
]
OVERLOADED = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in EVENTS).encode()


def test_an_error_in_the_middle_of_an_answer_is_told_as_each_api_does(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    asked = {"model": "sonnet", "max_tokens": 9, "stream": True}
    with (
        raw_upstream(head + OVERLOADED) as upstream,
        running_proxy(tmp_path, f"http://127.0.0.1:{upstream.port}") as proxy,
    ):
        messages = post(proxy, MESSAGES, "m", asked | {"messages": [user("Hi")]}).text
        chat = post(proxy, CHAT, "c", asked | {"messages": [user("Hi")]}).text
        responses = post(proxy, RESPONSES, "r", {"model": "sonnet", "stream": True, "input": "Hi"})
    sentence = "The API behind the Claude CLI answered 529: API Error: Overloaded"
    told = {"type": "overloaded_error", "message": sentence}
    assert last_event(messages) == {"type": "error", "error": told}
    assert last_event(chat)["error"]["message"] == sentence
    assert last_event(chat)["error"]["type"] == "server_error"
    failed = last_event(responses.text)
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": sentence}


def last_event(stream: str) -> Any:
    return json.loads(stream.strip().rpartition("data: ")[2])


@pytest.mark.acceptance(21)
def test_a_missing_cli_is_a_502_that_says_which(tmp_path: Path, api: ScriptedServer) -> None:
    headers = {"X-GoClaw-User-Id": "no-cli"}
    with running_proxy(tmp_path, api.url) as proxy:
        ask(proxy, headers, "My name is Nia.")
    with running_proxy(tmp_path, api.url, options={"claude": "/nowhere/claude"}) as proxy:
        with pytest.raises(openai.InternalServerError) as failure:
            ask(proxy, headers, "Who am I?")
        assert failure.value.status_code == 502
        assert "/nowhere/claude" in str(failure.value)
    with running_proxy(tmp_path, api.url) as proxy:
        assert ask(proxy, headers, "Who am I?") == "Your name is Nia."


def test_not_logged_in_is_a_401_that_says_what_to_do(tmp_path: Path, api: ScriptedServer) -> None:
    options = {"claude_env": [f"ANTHROPIC_BASE_URL={api.url}"]}
    with (
        running_proxy(tmp_path, api.url, options=options) as proxy,
        pytest.raises(openai.AuthenticationError, match="/login"),
    ):
        ask(proxy, {"X-GoClaw-User-Id": "nobody"}, "Hello.")


def test_a_killed_cli_is_a_502_and_the_next_turn_remembers(
    proxy: Proxy, api: ScriptedServer
) -> None:
    headers = {"X-GoClaw-User-Id": "killed"}
    ask(proxy, headers, "My name is Kim.")
    client = proxy.openai(headers)
    stream = client.chat.completions.create(
        model="gpt-4o", messages=[user("Wait. [gate killed]")], stream=True
    )
    api.wait_until_held("killed")
    (child,) = proxy.children()
    os.kill(child, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="Claude CLI"):
        list(stream)

    assert ask(proxy, headers, "Who am I? (after kill)") == "Your name is Kim."
    assert len(api.seen("(after kill)")[0]) == 3
    assert ends(proxy, "killed") == ["end_turn", "failed", "end_turn"]


@pytest.mark.parametrize("option", ["first_token_timeout", "timeout"])
def test_a_turn_that_hangs_is_a_504_and_its_cli_is_gone(
    tmp_path: Path, api: ScriptedServer, option: str
) -> None:
    with running_proxy(tmp_path, api.url, options=ONE_FOR_EACH_TURN | {option: "10"}) as proxy:
        headers = {"X-GoClaw-User-Id": "hung"}
        ask(proxy, headers, "My name is Hal.")
        with pytest.raises(openai.InternalServerError) as failure:
            ask(proxy, headers, "[hang]")
        assert failure.value.status_code == 504
        wait_for(lambda: not proxy.children(), "the CLI to be gone", timeout=2)
        assert ask(proxy, headers, "Who am I? (after hang)") == "Your name is Hal."
        assert len(api.seen("(after hang)")[-1]) == 3


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_client_that_leaves_stops_the_turn_and_nothing_is_kept(
    proxy: Proxy, api: ScriptedServer, http2: bool
) -> None:
    headers = {"X-OpenClaw-Session": f"leaver-{http2}"}
    client = proxy.anthropic(headers, http2=http2)
    history = [user("My name is Lea.")]
    first = client.messages.create(model="sonnet", max_tokens=9, messages=history)
    history.append(assistant(said(first)))

    gate = f"leave-{http2}"
    leaving = proxy.anthropic(headers, http2=http2)
    with leaving.messages.stream(
        model="sonnet", max_tokens=9, messages=[*history, user(f"Stay. [gate {gate}]")]
    ):
        api.wait_until_held(gate)
        assert len(proxy.children()) == 1
        leaving.close()
    wait_for(lambda: not proxy.children(), "the turn to be stopped", timeout=1)
    wait_for(lambda: ends(proxy, f"leaver-{http2}")[1:], "what was used to be counted")

    last = user(f"Who am I? ({gate})")
    answer = client.messages.create(model="sonnet", max_tokens=9, messages=[*history, last])
    assert said(answer) == "Your name is Lea."
    assert [len(shown) for shown in api.seen(last["content"])] == [3]
    assert ends(proxy, f"leaver-{http2}") == ["end_turn", "left", "end_turn"]


@pytest.mark.acceptance(5, 10)
def test_a_session_the_cli_has_lost_is_brought_back_from_the_request(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with running_proxy(tmp_path, api.url) as proxy:
        client = proxy.anthropic({"X-OpenClaw-Session": "lost"})
        history = [user("My name is Lou. (lost)")]
        first = client.messages.create(model="sonnet", max_tokens=9, messages=history)
        for transcript in (tmp_path / "claude" / "projects").rglob("*.jsonl"):
            transcript.unlink()
        history += [assistant(said(first)), user("Who am I? (lost)")]

        for _ in range(2):
            answer = client.messages.create(model="sonnet", max_tokens=9, messages=history)
            assert said(answer) == "Your name is Lou."
        assert [f["metadata"]["reason"] for f in proxy.bridged("lost", 3)] == [
            "first_turn",
            "imported",
            "retried",
        ]
        assert [len(shown) for shown in api.seen("Who am I? (lost)")] == [3, 3]


def test_an_unknown_model_runs_the_default_and_is_named(proxy: Proxy) -> None:
    body = {"model": "gpt-4o", "messages": [user("Hello.")], "temperature": 0.5}
    response = post(proxy, CHAT, "ignored", body)

    assert response.headers["x-sessionbridge-ignored"] == "model, temperature"
    assert response.json()["model"].startswith("claude-")


def test_of_many_fields_without_effect_the_first_are_named(proxy: Proxy) -> None:
    """A header has room for some names, and the client may have invented any number of them."""
    many = {f"x-{number:03}": 1 for number in range(600)} | {"an \N{OGHAM SPACE MARK}\n odd one": 1}
    response = post(proxy, CHAT, "many", {"model": "sonnet", "messages": [user("Hi.")], **many})

    told = response.headers["x-sessionbridge-ignored"].split(", ")
    assert told == ["(other)", *(f"x-{number:03}" for number in range(19)), "(581 more)"]
    (flow,) = proxy.bridged("many", 1)
    assert flow["metadata"]["ignored"] == told


def test_strict_refuses_what_would_be_ignored(tmp_path: Path, api: ScriptedServer) -> None:
    with running_proxy(tmp_path, api.url, options={"strict": "true"}) as proxy:
        body = {"model": "sonnet", "messages": [user("Hello.")], "temperature": 0.5}
        body |= {f"x-{number}": 1 for number in range(30)}
        response = post(proxy, CHAT, "strict", body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "temperature"


def ask(proxy: Proxy, headers: dict[str, str], text: str) -> str:
    completion = proxy.openai(headers).chat.completions.create(
        model="gpt-4o", messages=[user(text)]
    )
    return completion.choices[0].message.content or ""


def ends(proxy: Proxy, session: str) -> list[str]:
    """How each of its turns that the model began has ended; all of them have used something."""
    turns = rows(proxy, "SELECT * FROM turns WHERE external_id LIKE ? ORDER BY id", f"%{session}")
    assert all(turn["cache_creation_input_tokens"] and turn["cost_usd"] for turn in turns)
    return [turn["status"] for turn in turns]
