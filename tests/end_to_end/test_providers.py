"""Two Claude accounts behind one proxy, with the real CLI: each has its own key, folder, processes
and conversations, and what one cannot answer the other takes up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer

MESSAGES = "https://api.anthropic.com/v1/messages"
ONE, TWO = "sk-ant-account-one", "sk-ant-account-two"
KEPT_HERE = {"X-GoClaw-User-Id": "ann"}


class Place:
    def __init__(self, proxy: Proxy, one: ScriptedServer, two: ScriptedServer) -> None:
        self.proxy = proxy
        self.apis = {"claude": one, "two": two}

    def ask(
        self, text: str | list[dict[str, Any]], headers: Mapping[str, str], provider: str = ""
    ) -> httpx.Response:
        said = [{"role": "user", "content": text}] if isinstance(text, str) else text
        body = {"model": "sonnet", "max_tokens": 9, "messages": said}
        named = {"X-SessionBridge-Provider": provider} if provider else {}
        return self.proxy.http(headers={**headers, **named}).post(MESSAGES, json=body)

    def noted(self, turn: int) -> dict[str, Any]:
        """The metadata of a turn's flow; waits for it, because a client may have its answer before
        mitmproxy has ended the flow."""

        def found() -> dict[str, Any] | None:
            told = (flow["metadata"] or {} for flow in self.proxy.flows())
            return next((one for one in told if one.get("turn") == turn), None)

        return wait_for(found, f"turn {turn}")

    def keys(self) -> set[tuple[str, str]]:
        """The key and the address of the API that each Claude process of the proxy has."""
        found = set()
        for pid in _descendants(self.proxy.process.pid):
            environ = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
            told = dict(entry.partition("=")[::2] for entry in environ)
            if told.get("ANTHROPIC_AUTH_TOKEN"):
                found.add((told["ANTHROPIC_AUTH_TOKEN"], told["ANTHROPIC_BASE_URL"]))
        return found


def _descendants(pid: int) -> Iterator[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in map(int, children):
        yield child
        yield from _descendants(child)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("providers")
    secret = home / "secret"
    secret.write_text(f"{TWO}\n")
    with ScriptedServer() as one, ScriptedServer() as two:
        config = home / "providers.toml"
        config.write_text(f"""
            [providers.claude]
            env = {{ ANTHROPIC_AUTH_TOKEN = "env:KEY_ONE" }}
            fallback = ["two"]
            [providers.two]
            config_dir = "{home / "two"}"
            env = {{ ANTHROPIC_AUTH_TOKEN = "file:{secret}", ANTHROPIC_BASE_URL = "{two.url}" }}
            [providers.poor]
            budgets = [{{ per = "day", usd = 0 }}]
            fallback = ["two"]
            spare = 0
            [providers.lost]
            env = {{ ANTHROPIC_AUTH_TOKEN = "env:NOWHERE" }}
        """)
        options = {"config": str(config), "claude_env": [f"ANTHROPIC_BASE_URL={one.url}"]}
        options |= {"retries": "0", "live": "2", "spare": "1"}
        with running_proxy(home, one.url, options=options, env={"KEY_ONE": ONE}) as proxy:
            yield Place(proxy, one, two)


def test_the_same_id_on_two_accounts_is_two_conversations(place: Place) -> None:
    for provider, name in (("", "Tess"), ("two", "Ulla")):
        answer = place.ask(f"My name is {name}.", KEPT_HERE, provider)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-sessionbridge-provider"] == (provider or "claude")
    for provider, name in (("", "Tess"), ("two", "Ulla")):
        answer = place.ask("Who am I?", KEPT_HERE, provider)
        assert answer.json()["content"][0]["text"] == f"Your name is {name}."
    one, two = place.apis.values()
    assert place.keys() == {(ONE, one.url), (TWO, two.url)}
    for api, key in ((one, ONE), (two, TWO)):
        assert api.calls and {call.headers["Authorization"] for call in api.calls} == {
            f"Bearer {key}"
        }
    transcripts = [len(list(folder.glob("projects/*/*.jsonl"))) for folder in _folders(place)]
    assert transcripts == [1, 1]


def _folders(place: Place) -> list[Path]:
    return [place.proxy.home / name for name in ("claude", "two")]


def who(answer: httpx.Response) -> tuple[str, str, str]:
    assert answer.status_code == 200, answer.text
    told = (answer.headers[f"x-sessionbridge-{name}"] for name in ("provider", "reason"))
    provider, reason = told
    return provider, reason, answer.json()["content"][0]["text"]


@pytest.mark.parametrize("status", [429, 500])
def test_what_is_kept_here_moves_to_the_other_and_back(place: Place, status: int) -> None:
    one, two = place.apis.values()
    bob = {"X-GoClaw-User-Id": f"bob-{status}"}
    assert who(place.ask("My name is Vera.", bob))[0] == "claude"
    with one.failing(status):
        moved = place.ask(f"Who am I? ({status})", bob)
    assert who(moved) == ("two", "moved", "Your name is Vera.")
    (whole,) = two.seen(f"Who am I? ({status})")
    assert [said for _, said in whole][::2] == ["My name is Vera.", f"Who am I? ({status})"]
    noted = place.noted(int(moved.headers["x-sessionbridge-turn"]))
    assert noted["provider"] == "two" and noted["error"] is None
    assert who(place.ask("Who am I?", bob)) == ("two", "appended", "Your name is Vera.")
    with two.failing(status):
        back = place.ask(f"Who am I? (back, {status})", bob)
    assert who(back) == ("claude", "moved", "Your name is Vera.")
    (whole,) = one.seen(f"(back, {status})")
    assert len(whole) == 7


def test_what_the_client_resends_is_brought_in_there(place: Place) -> None:
    one, two = place.apis.values()
    chat = {"X-OpenWebUI-Chat-Id": "chat-1"}
    said = [{"role": "user", "content": "My name is Wim."}]
    answer = place.ask(said, chat)
    said += [{"role": "assistant", "content": answer.json()["content"]}]
    said += [{"role": "user", "content": "Who am I? (resent)"}]
    with one.failing(529):
        assert who(place.ask(said, chat)) == ("two", "moved", "Your name is Wim.")
        forbidden = place.ask(said, chat | {"X-SessionBridge-Fallback": "none"})
    assert forbidden.status_code == 529
    assert [len(shown) for shown in two.seen("(resent)")] == [3]


def test_where_one_has_spent_its_budget_the_other_answers(place: Place) -> None:
    answer = place.ask("My name is Xenia.", {"X-OpenWebUI-Chat-Id": "chat-3"}, "poor")
    assert who(answer) == ("two", "first_turn", "Nice to meet you, Xenia!")


def test_a_provider_without_its_secret_is_an_error_and_the_others_answer(place: Place) -> None:
    answer = place.ask("Hello", {"X-OpenWebUI-Chat-Id": "chat-2"}, "lost")
    assert answer.status_code == 401 and answer.headers["x-sessionbridge-provider"] == "lost"
    message = answer.json()["error"]["message"]
    assert message.startswith("The provider lost is without a secret that its config names")
    where = "The provider lost has no ANTHROPIC_AUTH_TOKEN: its config names the variable NOWHERE"
    assert "NOWHERE" not in message and where in place.proxy.log
    answer = place.ask("Hello", {"X-OpenWebUI-Chat-Id": "chat-2"}, "nobody")
    assert answer.status_code == 400
    assert "no provider 'nobody'" in answer.json()["error"]["message"]
    assert place.ask("Hello", {"X-OpenWebUI-Chat-Id": "chat-2"}).status_code == 200
