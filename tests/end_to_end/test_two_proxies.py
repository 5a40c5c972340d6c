"""Several proxies: those of one home share its conversations, take their turns one after the other,
and know each other's Claude CLIs; those of two homes send none of these back and forth."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.claude.cli.child_mark import CHILD_HEADER
from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.raw_upstream import raw_upstream
from tests.support.scripted_api import ScriptedServer

MESSAGES = "https://api.anthropic.com/v1/messages"


def say(proxy: Proxy, text: str) -> str:
    """The answer to a person whose history is kept here."""
    body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    answer = proxy.http(headers={"X-GoClaw-User-Id": "shared"}).post(MESSAGES, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["content"][0]["text"])


@pytest.mark.acceptance(12)
def test_a_turn_waits_for_one_of_its_session_in_another_proxy(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with (
        running_proxy(tmp_path, api.url) as one,
        running_proxy(tmp_path, api.url) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        say(one, "My name is Tess.")
        first = pool.submit(say, one, "Wait. [gate two-proxies]")
        api.wait_until_held("two-proxies")
        second = pool.submit(say, two, "Who am I? (in the other)")
        locks = tmp_path / "bridge" / "locks"
        wait_for(lambda: len(list(locks.iterdir())) == 2, "the second to stand in line")
        assert not second.done()
        api.open_gate("two-proxies")
        assert first.result()
        assert second.result() == "Your name is Tess."
        assert [len(shown) for shown in api.seen("(in the other)")] == [5]
        # The process that waits in the first proxy does not know of that turn, and is not used.
        assert say(one, "Who am I? (back again)") == "Your name is Tess."
        assert [len(shown) for shown in api.seen("(back again)")] == [7]


def through(other: Proxy, api: ScriptedServer) -> dict[str, list[str]]:
    """Options of a proxy whose CLI calls the API through another."""
    anyway = [f"HTTP_PROXY={other.url}", "NO_PROXY="]
    return {"claude_env": ["ANTHROPIC_AUTH_TOKEN=dummy", f"ANTHROPIC_BASE_URL={api.url}", *anyway]}


def bridging_all(folder: Path) -> dict[str, str]:
    """Options under which every request of the scripted API's is bridged, Claude Code's too."""
    file = folder / "endpoints.toml"
    file.write_text('[[endpoints]]\nhost = "127.0.0.1"\npath = "/v1/messages"\napi = "messages"\n')
    return {"config": str(file), "unkeyed": "stateless", "claude_code": "true"}


def seen_by(proxy: Proxy, count: int) -> list[dict[str, Any]]:
    """What the other's CLI asked through it."""

    def found() -> list[dict[str, Any]] | None:
        asked = [flow for flow in proxy.flows() if "/v1/messages" in flow["url"]]
        return asked if len(asked) >= count else None

    return wait_for(found, f"{count} requests of the other's CLI")


def test_the_cli_of_another_proxy_of_the_home_passes(tmp_path: Path, api: ScriptedServer) -> None:
    options = bridging_all(tmp_path)
    with (
        running_proxy(tmp_path, api.url, options=options) as one,
        running_proxy(tmp_path, api.url, options=through(one, api)) as two,
    ):
        assert say(two, "My name is Nan.") == "Nice to meet you, Nan!"
        assert {flow["metadata"]["plan"] for flow in seen_by(one, 1)} == {"own", "fresh"}


def test_so_does_that_of_a_proxy_that_has_ended(tmp_path: Path, api: ScriptedServer) -> None:
    with running_proxy(tmp_path, api.url) as ended:
        say(ended, "My name is Moe.")
    shown = {name.lower(): value for name, value in api.calls[-1].headers.items()}
    mark = {CHILD_HEADER: shown[CHILD_HEADER]}
    body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}
    with (
        raw_upstream(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as upstream,
        running_proxy(tmp_path, api.url, options=bridging_all(tmp_path)) as proxy,
    ):
        address = f"http://127.0.0.1:{upstream.port}/v1/messages"
        answer = proxy.http(headers=mark).post(address, json=body)
        assert answer.status_code == 200
        assert [flow["metadata"] for flow in seen_by(proxy, 1)][-1] == {"plan": "own"}


@pytest.mark.parametrize("all_of_it", [True, False])
def test_the_cli_of_another_home_is_never_bridged(
    tmp_path: Path, api: ScriptedServer, all_of_it: bool
) -> None:
    """Where it would be it is refused, or each of two proxies could send it to the other."""
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    options = bridging_all(homes[0]) if all_of_it else {}
    with (
        running_proxy(homes[0], api.url, options=options) as one,
        running_proxy(homes[1], api.url, options=through(one, api)) as two,
    ):
        body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        answer = two.http(headers={"X-GoClaw-User-Id": "a"}).post(MESSAGES, json=body)
        assert answer.status_code == (403 if all_of_it else 200), answer.text
        assert ("another home" in answer.text) == all_of_it
        assert one.children() == []
