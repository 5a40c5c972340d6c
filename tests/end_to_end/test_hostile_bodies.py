"""Bodies that are made to be costly: refused by field, and their memory is given back.

What others wait meanwhile is measured by `scripts/bench --only hostile`.
"""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.test_odd_heads import proxy
from tests.support.proxy import Proxy, wait_for

__all__ = ["proxy"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")

SIZE = 10_000_000
HEAD = b'{"model":"sonnet","max_tokens":9,"messages":['
EMPTY = HEAD + b",".join([b"{}"] * (SIZE // 3)) + b"]}"
WORDS = HEAD + b'{"role":"user","content":"' + b"a" * SIZE + b'"},{"role":"user"}]}'
VALUES = "the request body: must not hold more than 1,000,000 values"


def post(proxy: Proxy, body: bytes, **headers: str) -> httpx.Response:
    named = {"content-type": "application/json", "x-sessionbridge-session": "hostile", **headers}
    url = f"{proxy.url}/v1/messages"
    return httpx.post(url, content=body, headers=named, timeout=120, trust_env=False)


def resident_mb(proxy: Proxy) -> float:
    status = Path(f"/proc/{proxy.process.pid}/status").read_text("utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def test_they_are_refused_and_leave_nothing_behind(proxy: Proxy) -> None:
    # With a turn all is loaded that there is to load.
    assert post(proxy, HEAD + b'{"role":"user","content":"Hi"}]}').status_code == 200
    before = resident_mb(proxy)
    for body, status, sentence in (
        (EMPTY, 400, VALUES),
        (WORDS, 400, "messages.1.content: is required"),
        (WORDS, 400, "messages.1.content: is required"),
        (WORDS, 400, "messages.1.content: is required"),
    ):
        answer = post(proxy, body)
        assert answer.status_code == status
        assert answer.json()["error"]["message"].startswith(sentence)
    wait_for(lambda: resident_mb(proxy) < before + 2 * SIZE / 1e6, "the memory to be given back")


@pytest.mark.parametrize("times", [1, 2])
def test_one_that_grows_when_it_is_decoded(proxy: Proxy, times: int) -> None:
    body = HEAD + b" " * 100_000_000 + b"]}"
    for _ in range(times):
        body = gzip.compress(body)
    answer = post(proxy, body, **{"content-encoding": ", ".join(["gzip"] * times)})
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "request_too_large"
    assert "more than 67,108,864 bytes once it is decoded" in answer.json()["error"]["message"]
