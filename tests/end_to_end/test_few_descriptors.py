"""A proxy that may have few file descriptors says so, whatever it was that lacked one."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.proxy import Proxy, running_proxy
from tests.support.scripted_api import ScriptedServer, user

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's alone")

AT_ONCE = 8
MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"


@pytest.fixture
def proxy(tmp_path: Path, api: ScriptedServer) -> Iterator[Proxy]:
    mode = ("--mode", f"reverse:{api.url}@0")
    options = {"live": "0", "spare": "0", "concurrency": str(AT_ONCE)}
    with running_proxy(tmp_path, api.url, *mode, options=options) as running:
        yield running


def allow(proxy: Proxy, count: int) -> None:
    _, most = resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(proxy.process.pid, resource.RLIMIT_NOFILE, (count, most))


def ask(proxy: Proxy, number: int) -> httpx.Response:
    body = {"model": "sonnet", "max_tokens": 9, "messages": [user(f"hello {number}")]}
    return httpx.post(
        proxy.url + (MESSAGES, CHAT)[number % 2],
        json=body,
        headers={"x-sessionbridge-session": f"few-{number}"},
        timeout=60,
        trust_env=False,
    )


@pytest.mark.parametrize("count", [44, 64])
def test_what_lacks_descriptors_says_so(proxy: Proxy, count: int) -> None:
    allow(proxy, count)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda number: ask(proxy, number), range(AT_ONCE)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert answer.status_code == 503
        said = answer.json()["error"]["message"]
        assert f"no file descriptors left (it may have {count}); raise its limit" in said
    allow(proxy, 1024)
    last = ask(proxy, 0)
    assert last.status_code == 200, last.text
