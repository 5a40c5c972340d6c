"""Several proxies on one home share its conversations, and take their turns one after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.proxy import Proxy, running_proxy, wait_for
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
