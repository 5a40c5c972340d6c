"""Bodies that are made to be costly, one at a time: what another stream waits meanwhile, and the
memory they leave behind.

The other stream says the time every few milliseconds, so a loop that is held up, or has to wait for
the interpreter, is seen by how late its client hears it.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from scripts.benchmarks.asking import listen, request
from scripts.benchmarks.figures import Benchmark, Figure, Options
from scripts.benchmarks.inside.ticking import Score
from scripts.benchmarks.proxies import INSIDE, Mitmdump, mitmdump

SIZE = 20_000_000
HOLD_MS = 50
GROWTH = 1.2
_NOWHERE = "http://127.0.0.1:9"
_PATIENCE = 120.0
_SETTLED = 1.0
_SCORE = Score(30_000, 0.002)
"""Of the stream beside them; it is left when the body has been answered."""

_HEAD = b'{"model":"claude-sonnet-5","max_tokens":9,'
_SAYS = json.dumps(Score(1, 0.0).written()).encode()
_ASKS = b'"messages":[{"role":"user","content":' + _SAYS + b"}]"


def hostile(options: Options) -> Iterable[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield from measure(Path(folder), options)


def bodies(size: int) -> Mapping[str, bytes]:
    """By what there is much of."""

    filled = partial(_filled, size)
    keys = b",".join(b'"k%d":1' % number for number in range(size // 12))
    inner = b'"messages":[{"role":"user","content":'
    return {
        "messages": filled(b'"messages":[', b"{}", b"]"),
        "good messages": filled(b'"messages":[', b'{"role":"user","content":' + _SAYS + b"}", b"]"),
        "blocks": filled(inner + b"[", b"{}", b"]}]"),
        "tools": filled(_ASKS + b',"tools":[', b"{}", b"]"),
        "depth": _HEAD + inner + b"[" * (size // 2) + b"]" * (size // 2) + b"}]}",
        "a text": _HEAD + inner + b'"' + b"a" * size + b'"}]}',
        "escapes": _HEAD + inner + b'"' + rb"\n" * (size // 2) + b'"}]}',
        "keys": _HEAD + _ASKS + b"," + keys + b"}",
        "numbers": filled(_ASKS + b',"metadata":[', b"1", b"]"),
        "texts": filled(_ASKS + b',"metadata":[', b'"ab"', b"]"),
        "no UTF-8": _HEAD + inner + b'"' + b"\xff" * size + b'"}]}',
    }


def _filled(size: int, before: bytes, item: bytes, after: bytes) -> bytes:
    return _HEAD + before + b",".join([item] * (size // (len(item) + 1))) + after + b"}"


def measure(folder: Path, options: Options, size: int = SIZE) -> Iterator[Figure]:
    with mitmdump(folder / "home", f"reverse:{_NOWHERE}@0", door=INSIDE) as proxy:
        yield from asyncio.run(_measured(proxy, options, size))


async def _measured(proxy: Mitmdump, options: Options, size: int) -> list[Figure]:
    await _beside(proxy, b"{}", "")  # so that all that is loaded once is there
    before = proxy.resident_mb()
    late: dict[str, float] = {}
    after = before
    for name, body in bodies(size).items():
        late[f"{name}_ms"], answered = await _beside(proxy, body, "")
        await asyncio.sleep(_SETTLED)
        after = max(after, proxy.resident_mb())
        options.say(
            f"{name}: {late[f'{name}_ms']:.0f} ms, {answered}, {proxy.resident_mb():.0f} MB"
        )
    small = gzip.compress(_filled(size * 25, b'"messages":[', b"{}", b"]"))
    late["gzip_ms"], answered = await _beside(proxy, small, "gzip")
    await asyncio.sleep(_SETTLED)
    after = max(after, proxy.resident_mb())
    options.say(f"gzip: {late['gzip_ms']:.0f} ms, {answered}, {proxy.resident_mb():.0f} MB")
    worst = max(late.values())
    megabytes = size // 1_000_000
    return [
        Figure(
            f"a hostile body of {megabytes} MB, the longest another stream waits",
            late,
            f"≤ {HOLD_MS} ms",
            worst <= HOLD_MS,
            (
                f"a chunk each {_SCORE.every * 1000:g} ms, counted from when it was due",
                f"gzip: {len(small) / 1e6:.1f} MB that would be {megabytes * 25} MB",
            ),
        ),
        Figure(
            "memory, after the worst of them",
            {"before_mb": before, "after_mb": after, "growth": after / before},
            f"growth ≤ {GROWTH:g}",
            after / before <= GROWTH,
        ),
    ]


async def _beside(proxy: Mitmdump, body: bytes, coding: str) -> tuple[float, str]:
    """How late the other stream was at worst, in ms, and how the body was answered."""
    other = await listen(proxy.port, request("beside", (), _SCORE, stream=True))
    await other.begun
    answered = await asyncio.to_thread(_answered, proxy.port, body, coding)
    await asyncio.sleep(0.1)
    ticks = other.ticks()
    other.leave()
    await other.ended
    return max(tick.heard - tick.due for tick in ticks) * 1000, answered


def _answered(port: int, body: bytes, coding: str) -> str:
    """On a thread, because whoever reads the other stream must not wait for it."""
    headers = {"content-type": "application/json", "x-sessionbridge-session": "hostile"}
    if coding:
        headers["content-encoding"] = coding
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        client.request("POST", "/v1/messages", body, headers)
        answer = client.getresponse()
        return f"{answer.status} {answer.read()[:150].decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        client.close()


BENCHMARKS: dict[str, Benchmark] = {"hostile": hostile}
