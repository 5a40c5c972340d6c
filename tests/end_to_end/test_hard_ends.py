"""What only the bridge holds is gone on with, however the processes of the turns before ended: what
a CLI has written of an answer that nobody got is no part of it."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.test_lost_database import MESSAGES, say
from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.scripted_api import ScriptedServer
from tests.support.soak_faults import guardians

GATES = count(1)
KNOWN = [("user", "My name is Tess."), ("assistant", "Nice to meet you, Tess!")]


@contextmanager
def under_way(proxy: Proxy, api: ScriptedServer) -> Iterator[str]:
    """A turn that waits at this gate in the middle of its answer; how it ends is not looked at."""
    gate = f"end-{next(GATES)}"
    with ThreadPoolExecutor(1) as pool:
        pool.submit(say, proxy, f"Never answered. [gate {gate}]")
        api.wait_until_held(gate)
        yield gate
        api.open_gate(gate)


def stopped(proxy: Proxy, api: ScriptedServer) -> None:
    """A client that leaves in the middle of the answer: its process ends hard."""
    gate = f"stopped-{next(GATES)}"
    body = {"model": "sonnet", "max_tokens": 9, "stream": True}
    body["messages"] = [{"role": "user", "content": f"Stopped. [gate {gate}]"}]
    headers = {"X-GoClaw-User-Id": "ann"}
    with proxy.http(headers=headers).stream("POST", MESSAGES, json=body) as answer:
        api.wait_until_held(gate)
        next(answer.iter_raw())
    api.open_gate(gate)
    wait_for(lambda: not proxy.children() or None, "the process to be gone")


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def all_get_sigterm(proxy: Proxy, api: ScriptedServer) -> None:
    """What systemd does by default when it stops a unit."""
    with under_way(proxy, api):
        send([proxy.process.pid, *proxy.children(), *guardians(proxy)], signal.SIGTERM)
        proxy.process.wait(60)


def the_cli_gets_sigterm(proxy: Proxy, api: ScriptedServer) -> None:
    with under_way(proxy, api):
        send(proxy.children(), signal.SIGTERM)
        wait_for(lambda: not proxy.children() or None, "the process to be gone")


def guardian_then_proxy(proxy: Proxy, api: ScriptedServer) -> None:
    """Nobody ends the CLI then: it goes on, and writes its answer down."""
    with under_way(proxy, api):
        left = proxy.children()
        send(guardians(proxy), signal.SIGKILL)
        proxy.process.kill()
        proxy.process.wait()
    transcript = next(proxy.home.glob("claude/projects/*/*.jsonl"))
    try:
        wait_for(lambda: "after the gate" in transcript.read_text("utf-8"), "the answer")
    finally:
        send([pid for pid in left if Path(f"/proc/{pid}").exists()], signal.SIGKILL)


def the_proxy_is_killed(proxy: Proxy, api: ScriptedServer) -> None:
    """At once after an answer."""
    proxy.process.kill()
    proxy.process.wait()


ENDS: list[Callable[[Proxy, ScriptedServer], None]] = [
    *(all_get_sigterm, the_cli_gets_sigterm, guardian_then_proxy, the_proxy_is_killed)
]


@pytest.mark.parametrize("end", ENDS)
def test_it_goes_on_with_what_was_committed(
    tmp_path: Path, api: ScriptedServer, end: Callable[[Proxy, ScriptedServer], None]
) -> None:
    options = {"spare": "0", "memory_lost": "error"}
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        assert say(proxy, "My name is Tess.").status_code == 200
        end(proxy, api)
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        stopped(proxy, api)
        assert_known(say(proxy, f"First? ({tmp_path})"), api, f"First? ({tmp_path})")
        end(proxy, api)
    with running_proxy(tmp_path, api.url, options=options) as proxy:
        first = [("user", f"First? ({tmp_path})"), ("assistant", "Your name is Tess.")]
        last = f"Last? ({tmp_path})"
        assert_known(say(proxy, last), api, last, *first)


def test_a_turn_that_could_not_be_committed_is_no_part_of_it(
    tmp_path: Path, api: ScriptedServer
) -> None:
    with running_proxy(tmp_path, api.url, options={"memory_lost": "error"}) as proxy:
        say(proxy, "My name is Tess.")
        gate = f"end-{next(GATES)}"
        with (
            closing(sqlite3.connect(proxy.database, isolation_level=None)) as db,
            ThreadPoolExecutor(1) as pool,
        ):
            turn = pool.submit(say, proxy, f"Not kept. [gate {gate}]", timeout=90)
            api.wait_until_held(gate)
            db.execute("BEGIN IMMEDIATE")
            api.open_gate(gate)
            assert turn.result().status_code == 503  # when that long has been waited for the lock
            db.rollback()
        first = f"First? ({tmp_path})"
        assert_known(say(proxy, first), api, first)
        assert say(proxy, "And this fails. [fail 500]").status_code == 500
        second = [("user", first), ("assistant", "Your name is Tess.")]
        last = f"Last? ({tmp_path})"
        assert_known(say(proxy, last), api, last, *second)


def assert_known(
    answer: httpx.Response, api: ScriptedServer, asked: str, *since: tuple[str, str]
) -> None:
    assert answer.status_code == 200, answer.text
    assert api.seen(asked) == [[*KNOWN, *since, ("user", asked)]]
