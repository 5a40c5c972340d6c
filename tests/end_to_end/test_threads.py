"""Threads of the Messages API by the official clients, which send only what is new: what the model
is shown is the whole conversation all the same."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import beta_async_tool, beta_tool
from anthropic.types import ThreadNotFoundError
from pydantic import BaseModel

from sessionbridge.apis.common.ids import is_made_here
from tests.end_to_end.test_end_to_end import rows
from tests.support.proxy import ROOT, Proxy, free_port, running_proxy
from tests.support.scripted_api import ScriptedServer
from tests.support.tool_talks import plain
from tests.support.whole_requests import messages, shown

OPTIONS = {"unkeyed": "stateless", "live": "6", "spare": "0"}
PROGRAM = ROOT / "tests" / "node" / "threads.mjs"
ASKED: Any = {"model": "claude-sonnet-5", "max_tokens": 500}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    with running_proxy(tmp_path_factory.mktemp("proxy"), api.url, options=OPTIONS) as running:
        yield running


def told(history: Any) -> list[Any]:
    """As the model has to see it, comparable."""
    spoken = []
    for message in json.loads(json.dumps(history, default=lambda block: block.to_dict())):
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        spoken.append((message["role"], blocks))
    return plain(spoken)


def assert_seen(api: ScriptedServer, marker: str, history: Any) -> None:
    """The model was shown this history, one answer after the other, and nothing else."""
    calls, ends = api.heard(marker), [n for n, one in enumerate(history) if one["role"] != "user"]
    assert [plain(messages(call)) for call in calls] == [told(history[:end]) for end in ends]


def reasons(proxy: Proxy, answer_id: str) -> list[str]:
    """Of all turns of the conversation with this answer."""
    given = answer_id.replace("msg_sb", "msg_")
    turns = rows(proxy, "SELECT external_id FROM turns WHERE response_id = ?", given)
    own = rows(
        proxy,
        "SELECT reason FROM turns WHERE external_id = ? ORDER BY id",
        turns[0]["external_id"],
    )
    return [turn["reason"] for turn in own]


def test_a_thread_sends_streams_and_parses(proxy: Proxy, api: ScriptedServer) -> None:
    class Found(BaseModel):
        name: str

    client = proxy.anthropic({})
    thread = client.beta.messages.thread(**ASKED, system="Be kind.", output_format=Found)
    thread.send({"role": "user", "content": 'My name is Ada. (helpers) [structured {"name": "A"}]'})
    thread.append({"role": "user", "content": "One more."})
    with thread.stream({"role": "user", "content": '[structured {"name": "B"}]'}) as stream:
        stream.until_done()
    parsed = thread.parse({"role": "user", "content": '[structured {"name": "Ada"}]'})
    assert parsed.parsed_output == Found(name="Ada")
    thread.update(max_tokens=600)
    thread.send({"role": "user", "content": '[structured {"name": "C"}]'})

    assert thread.previous_message_id and is_made_here(thread.previous_message_id)
    assert reasons(proxy, thread.previous_message_id) == ["first_turn", *["continued"] * 3]
    calls = api.heard("(helpers)")
    assert [shown(call).system for call in calls] == ["Be kind."] * len(calls)
    assert [call.body["max_tokens"] for call in calls][-1] == 600
    asked = [message for message in thread.messages if message["role"] == "user"]
    said = [
        block for role, blocks in plain(messages(calls[-1])) if role == "user" for block in blocks
    ]
    assert [text for kind, text in said if kind == "text"] == [m["content"] for m in asked]


def test_branches_and_forks_are_shown_what_came_before(proxy: Proxy, api: ScriptedServer) -> None:
    client = proxy.anthropic({})
    thread = client.beta.messages.thread(**ASKED)
    first = thread.send({"role": "user", "content": "My name is Ada. (branches)"})
    thread.send({"role": "user", "content": "Two."})
    fork = thread.fork()
    for words in ("Left.", "Right."):
        client.beta.messages.create(
            **ASKED,
            messages=[{"role": "user", "content": words}],
            thread={"type": "continue", "previous_message_id": first.id},
        )
    thread.send({"role": "user", "content": "Who am I?"})
    fork.send({"role": "user", "content": "Forked."})

    begun = list(thread.messages[:2])
    branches = [[*begun, {"role": "user", "content": words}] for words in ("Left.", "Right.")]
    whole = list(thread.messages[:5])
    forked = [*thread.messages[:4], {"role": "user", "content": "Forked."}]
    seen = [plain(messages(call)) for call in api.heard("(branches)")]
    expected = [begun[:1], whole[:3], *branches, whole, forked]
    assert seen == [told(one) for one in expected]
    assert reasons(proxy, first.id) == [
        "first_turn",
        "continued",
        "branched",
        "branched",
        "continued",
    ]


def test_nobody_goes_on_with_another_s_thread(proxy: Proxy, api: ScriptedServer) -> None:
    ann = proxy.anthropic({})
    bob = ann.with_options(api_key="sk-ant-another-key")
    first = ann.beta.messages.create(
        **ASKED,
        messages=[{"role": "user", "content": "My name is Ann. (others)"}],
        thread={"type": "create"},
    )
    ask: Any = {**ASKED, "messages": [{"role": "user", "content": "Who am I?"}]}
    after: Any = {"type": "continue", "previous_message_id": first.id}
    with pytest.raises(ThreadNotFoundError) as caught:
        bob.beta.messages.create(**ask, thread=after)
    assert caught.value.status_code == 404
    assert len(api.heard("(others)")) == 1
    ann.beta.messages.create(**ask, thread=after)
    assert len(api.heard("(others)")) == 2


def test_a_refusal_begins_a_new_thread(proxy: Proxy, api: ScriptedServer) -> None:
    thread = proxy.anthropic({}).beta.messages.thread(**ASKED)
    thread.send({"role": "user", "content": "My name is Ada. (refused)"})
    refusal = json.dumps({"content": [], "stop_reason": "refusal"})
    assert thread.send({"role": "user", "content": f"[answer {refusal}]"}).stop_reason == "refusal"
    assert thread.previous_message_id is None
    thread.send({"role": "user", "content": "Who am I?"})
    assert thread.previous_message_id is not None
    assert plain(messages(api.heard("(refused)")[-1])) == told(thread.messages[:-1])


def test_an_answer_that_is_left_begins_one_too(proxy: Proxy, api: ScriptedServer) -> None:
    thread = proxy.anthropic({}).beta.messages.thread(**ASKED)
    thread.send({"role": "user", "content": "My name is Ada. (left)"})
    with thread.stream({"role": "user", "content": "Go on. [gate left-thread]"}) as stream:
        assert next(stream.text_stream) == "before the gate "
        api.wait_until_held("left-thread")
    assert thread.previous_message_id is None
    api.open_gate("left-thread")
    thread.send({"role": "user", "content": "Who am I?"})
    assert len(thread.messages) == 6
    assert plain(messages(api.heard("(left)")[-1])) == told(thread.messages[:-1])


class Rounds:
    """A tool that is called four times; in the second call it waits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waits, self.goes_on = threading.Event(), threading.Event()
        self.prompt: Any = [{"role": "user", "content": f'({name}) [call step {{"n": 1}}]'}]

    def step(self, n: int) -> str:
        """Goes on."""
        if n == 2:
            self.waits.set()
            assert self.goes_on.wait(300)
        return f"{n} done" + (f' [call step {{"n": {n + 1}}}]' if n < 4 else "")


def run(url: str, rounds: Rounds, *, stream: bool) -> Any:
    client = anthropic.Anthropic(base_url=url, api_key=f"sk-{rounds.name}", max_retries=0)
    history = [*rounds.prompt]
    asked: Any = {**ASKED, "system": "Be kind.", "messages": rounds.prompt}
    with client:
        runner = client.beta.messages.tool_runner(
            **asked, tools=[beta_tool(rounds.step)], stream=stream
        )
        for part in runner:
            message: Any = part.get_final_message() if stream else part  # type: ignore[union-attr]
            history.append({"role": "assistant", "content": message.content})
            if results := runner.generate_tool_call_response():
                history.append(results)
    return history


async def run_async(url: str, rounds: Rounds) -> Any:
    async def step(n: int) -> str:
        """Goes on."""
        return await asyncio.to_thread(rounds.step, n)

    client = anthropic.AsyncAnthropic(base_url=url, api_key=f"sk-{rounds.name}", max_retries=0)
    history = [*rounds.prompt]
    asked: Any = {**ASKED, "system": "Be kind.", "messages": rounds.prompt}
    async with client:
        runner = client.beta.messages.tool_runner(**asked, tools=[beta_async_tool(step)])
        async for message in runner:
            history.append({"role": "assistant", "content": message.content})
            if results := await runner.generate_tool_call_response():
                history.append(results)
    return history


def run_node(url: str, rounds: Rounds, *, stream: bool) -> Any:
    variables = {
        "PATH": os.environ["PATH"],
        "BASE_URL": url,
        "PROMPT": rounds.prompt[0]["content"],
        "STREAM": "yes" if stream else "",
    }
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(["node", PROGRAM], env=variables, **pipes) as node:
        assert node.stdin is not None and node.stdout is not None
        assert node.stdout.readline() == "waiting\n"
        rounds.waits.set()
        assert rounds.goes_on.wait(300)
        history, _ = node.communicate("\n", timeout=300)
    return json.loads(history)


RUNNERS: dict[str, Callable[[str, Rounds], Any]] = {
    "python-json": partial(run, stream=False),
    "python-stream": partial(run, stream=True),
    "python-async": lambda url, rounds: asyncio.run(run_async(url, rounds)),
}
if shutil.which("node") and (PROGRAM.parent / "node_modules").is_dir():  # see scripts/setup-node
    RUNNERS |= {
        "node-json": partial(run_node, stream=False),
        "node-stream": partial(run_node, stream=True),
    }


def test_every_tool_runner_goes_on_over_a_restart(tmp_path: Path, api: ScriptedServer) -> None:
    """With what is new alone, in the middle of a tool's round."""
    port = free_port()
    mode = ("--mode", f"reverse:{api.url}@{port}")
    everyone = [Rounds(name) for name in RUNNERS]
    with ThreadPoolExecutor(len(everyone)) as pool, ExitStack() as running:
        running.enter_context(running_proxy(tmp_path, api.url, *mode, options=OPTIONS))
        futures: list[Future[Any]] = [
            pool.submit(RUNNERS[rounds.name], f"http://127.0.0.1:{port}", rounds)
            for rounds in everyone
        ]
        for rounds in everyone:
            assert rounds.waits.wait(300)
        running.close()
        proxy = running.enter_context(running_proxy(tmp_path, api.url, *mode, options=OPTIONS))
        for rounds in everyone:
            rounds.goes_on.set()
        histories = [future.result() for future in futures]
        turns = rows(proxy, "SELECT external_id, reason FROM turns ORDER BY id")
    for rounds, history in zip(everyone, histories, strict=True):
        assert len(history) == 10
        assert_seen(api, f"({rounds.name})", history)
        systems = [shown(call).system for call in api.heard(f"({rounds.name})")]
        assert systems == ["Be kind."] * 5
    by_key: dict[str, list[str]] = {}
    for turn in turns:
        by_key.setdefault(turn["external_id"], []).append(turn["reason"])
    went = ["first_turn", "tool_results", "tools_imported", "tool_results", "tool_results"]
    assert list(by_key.values()) == [went] * len(everyone)
