"""Two real nodes whose PostgreSQL goes away in the middle of a turn, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import httpx

from tests.support.clients import ServerClients
from tests.support.nodes import Node, running_nodes
from tests.support.postgres import PASSWORD, Postgres
from tests.support.proxy import wait_for
from tests.support.scripted_api import ScriptedServer

HEALTH = "/.sessionbridge/health"
READY = (200, {"status": "ready", "store": "reachable"})
UNAVAILABLE = (503, {"status": "unavailable", "store": "unreachable"})


def health(node: Node) -> tuple[int, Any]:
    answer = httpx.get(node.url + HEALTH, trust_env=False)
    return answer.status_code, answer.json()


def becomes(node: Node, state: tuple[int, Any]) -> None:
    wait_for(lambda: health(node) == state, f"the node to be {state[1]['status']}")


def person(node: Node, open_: ExitStack) -> Callable[[str], str]:
    """Says something, and returns what came of the answer. The history is kept by the nodes."""
    client = ServerClients(node.url, open_).anthropic({"x-goclaw-user-id": "ann"})

    def say(text: str) -> str:
        asked: Any = [{"role": "user", "content": text}]
        told = ""
        with client.messages.stream(model="sonnet", max_tokens=99, messages=asked) as stream:
            try:
                for part in stream.text_stream:
                    told += part
            except anthropic.APIStatusError as error:
                return f"{told} / {error.message}"
        return told

    return say


def ends(
    node: Node, open_: ExitStack, threads: ThreadPoolExecutor, api: ScriptedServer, gate: str
) -> None:
    """With a turn under way."""
    client = open_.enter_context(httpx.Client(base_url=node.url, trust_env=False))
    got, head = client.get(HEALTH), client.head(HEALTH)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
    turn = threads.submit(person(node, open_), f"Say something. [gate {gate}]")
    api.wait_until_held(gate)
    node.proxy.process.terminate()
    becomes(node, (503, {"status": "draining"}))
    api.open_gate(gate)
    assert turn.result() == "before the gate after the gate"
    assert node.proxy.process.wait(30) == 0


def test_the_client_has_its_answer_and_is_told_and_all_goes_on(
    tmp_path: Path, api: ScriptedServer, postgres: Postgres, database: str
) -> None:
    with (
        running_nodes(tmp_path, api.url, database) as (one, other),
        ExitStack() as open_,
        ThreadPoolExecutor() as threads,
    ):
        becomes(one, READY)
        becomes(other, READY)
        say, say_there = person(one, open_), person(other, open_)
        assert "Tess" in say("My name is Tess.")
        turn = threads.submit(say, f"This is lost. [gate {tmp_path}]")
        api.wait_until_held(str(tmp_path))
        postgres.stop()
        becomes(one, UNAVAILABLE)
        becomes(other, UNAVAILABLE)
        api.open_gate(str(tmp_path))
        told = turn.result()
        assert told.startswith("before the gate after the gate / ")
        assert "This turn was not kept." in told
        postgres.start()
        becomes(one, READY)
        becomes(other, READY)
        assert say_there(f"Who am I? ({tmp_path})") == "Your name is Tess."
        assert "Tess" in say(f"And now? ({tmp_path})")
        for node in (one, other):
            assert "This node is not healthy: The session database" in node.proxy.log
            assert PASSWORD not in node.proxy.log
        ends(one, open_, threads, api, f"drained-{tmp_path}")
    assert [len(shown) for shown in api.seen(f"({tmp_path})")] == [3, 5]
    assert not any(
        "This is lost" in text for shown in api.seen(f"({tmp_path})") for _, text in shown
    )
