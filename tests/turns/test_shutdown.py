"""The end of the proxy: what runs may finish, nothing new begins, and no process stays behind."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer

MESSAGES = "https://api.anthropic.com/v1/messages"


def post(proxy: Proxy, session: str, text: str) -> tuple[int, str, str | None]:
    """Status, body and `retry-after`."""
    body = {"model": "sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    answer = proxy.http(headers={"X-GoClaw-User-Id": session}).post(MESSAGES, json=body)
    return answer.status_code, answer.text, answer.headers.get("retry-after")


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_turn_under_way_comes_to_its_end_and_nothing_new_begins(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with running_proxy(tmp_path, api.url) as proxy, ThreadPoolExecutor(1) as pool:
        assert post(proxy, "waits", "Hello.")[0] == 200
        turn = pool.submit(post, proxy, "last", "Wait. [gate shutdown]")
        api.wait_until_held("shutdown")
        children = proxy.children()
        proxy.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Ending when the turns" in proxy.log, "the proxy to be ending")

        status, body, retry_after = post(proxy, "late", "Hello?")
        assert (status, retry_after) == (503, "1")
        assert "shutting down" in body

        api.open_gate("shutdown")
        status, body, _ = turn.result()
        assert status == 200 and '"end_turn"' in body
        assert proxy.process.wait(20) == 0
        assert len(children) >= 2
        wait_for(lambda: gone(children), "the CLIs to be gone")
    with running_proxy(tmp_path, api.url) as again:
        assert post(again, "last", "And now? (after the end)")[0] == 200
        assert len(api.seen("(after the end)")[0]) == 3


def test_a_second_signal_ends_the_turn_too(tmp_path: Path, api: ScriptedServer) -> None:
    with running_proxy(tmp_path, api.url) as proxy, ThreadPoolExecutor(1) as pool:
        turn = pool.submit(post, proxy, "stopped", "Wait. [gate impatient]")
        api.wait_until_held("impatient")
        children = proxy.children()
        for _ in range(2):
            os.kill(proxy.process.pid, signal.SIGTERM)
            wait_for(lambda: "Ending when the turns" in proxy.log, "the proxy to be ending")
        proxy.process.wait(20)
        assert turn.exception() is not None or turn.result()[0] != 200
        assert children
        wait_for(lambda: gone(children), "the CLIs to be gone")
