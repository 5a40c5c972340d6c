"""Work of large bodies, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sessionbridge.errors import BadRequest, BridgeError
from sessionbridge.turns.worker import Worker, is_costly
from tests.support.bridge_fixtures import House, bridge, house
from tests.support.scripted_dispatcher import words

__all__ = ["house"]

BODY = b"a body" * 100_000


def pid(body: bytes) -> tuple[int, int]:
    return os.getpid(), len(body)


def refused(body: bytes, field: str) -> None:
    raise BadRequest("it is refused", param=field)


def killed(body: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def for_ever(body: bytes, file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    await worker.end()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  another process tells nobody
            await asyncio.sleep(0.01)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


async def test_it_is_another_process_and_stays_the_same(worker: Worker) -> None:
    first, size = await worker.run(pid, BODY)
    assert first != os.getpid() and size == len(BODY)
    assert await worker.run(pid, b"") == (first, 0)


async def test_many_at_once_have_each_their_answer(worker: Worker) -> None:
    sizes = range(0, 1_000_000, 100_000)
    found = await asyncio.gather(*(worker.run(pid, bytes(size)) for size in sizes))
    assert [size for _, size in found] == list(sizes)


async def test_an_error_is_raised_here(worker: Worker) -> None:
    with pytest.raises(BadRequest, match="it is refused") as caught:
        await worker.run(refused, BODY, "messages")
    assert caught.value.param == "messages"
    assert (await worker.run(pid, BODY))[1] == len(BODY)


async def test_one_that_dies_is_replaced(worker: Worker) -> None:
    with pytest.raises(BridgeError, match="send the request again"):
        await worker.run(killed, BODY)
    assert (await worker.run(pid, BODY))[1] == len(BODY)


async def test_who_leaves_ends_the_work(worker: Worker, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    task = asyncio.create_task(worker.run(for_ever, BODY, str(file)))
    await until(lambda: file.exists() and file.read_text() != "")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    process = int(file.read_text())
    await until(lambda: is_gone(process))
    assert (await worker.run(pid, BODY))[1] == len(BODY)


async def test_it_ends_when_there_is_nothing_to_do() -> None:
    worker = Worker(idle=0.01)
    process, _ = await worker.run(pid, BODY)
    await until(lambda: is_gone(process))
    assert (await worker.run(pid, BODY))[0] != process
    await worker.end()


async def test_a_large_body_is_read_as_any_other(house: House, worker: Worker) -> None:
    house.bridge = bridge(house.settings, house.thread, house.dispatcher, worker)
    asked = [("user", "x" * 5_000_000), ("assistant", "y"), ("user", "z")]
    answer = await house.ask(asked)
    assert answer.status == 200 and words(house.dispatcher.seen[0]) == asked
    refused = await house.ask(asked, max_tokens="many")
    assert refused.status == 400
    assert refused.json["error"]["message"] == "max_tokens: must be an integer"


@pytest.mark.parametrize(
    ("body", "costly"),
    [
        (b"[" + b",".join([b"{}"] * 80_000) + b"]", False),  # short enough, whatever it holds
        (b"[" + b",".join([b"{}"] * 110_000) + b"]", True),
        (b"{" + b",".join([b'"some name": 1'] * 30_000) + b"}", True),
        (b"[" * 300_000, True),
        (b'"' + b"a" * 3_000_000 + b'"', False),
        (b'"' + b"a" * 5_000_000 + b'"', True),
    ],
)
def test_what_is_costly(body: bytes, costly: bool) -> None:
    assert is_costly(body) is costly
