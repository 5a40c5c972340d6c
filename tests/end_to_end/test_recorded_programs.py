"""Recorded requests of real programs, gone on with for six turns: never refused, planned as they
should be, and what the model saw is what was sent. Each turn has another system prompt, because the
minute is in it, and still is answered by the process of the one before."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from sessionbridge.apis import SHAPES
from sessionbridge.model import Block, Message, Role
from sessionbridge.sessions.planning.lineage import chain
from sessionbridge.traffic.reading import api_of, read
from tests.support.proxy import Proxy, running_proxy, wait_for
from tests.support.recordings import without_notes
from tests.support.scripted_api import ScriptedServer
from tests.support.whole_requests import messages

CAPTURED = sorted((Path(__file__).parent.parent / "captured").glob("*.json"))
OWN = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}
HOSTS = {"messages": "https://api.anthropic.com", "ollama": "http://localhost:11434"}
TURNS = 6
TOOL_TURN = 3
"""In this turn the model calls the first tool that the program offers."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, api: ScriptedServer) -> Iterator[Proxy]:
    home = tmp_path_factory.mktemp("programs")
    config = home / "config.toml"
    config.write_text('[endpoints]\nuse = ["ollama"]\n')
    options = {"unkeyed": "fingerprint", "config": str(config)}
    with running_proxy(home, api.url, options=options) as running:
        yield running


class Program:
    """A program as its recording shows it, going on with what it is answered."""

    def __init__(self, path: Path) -> None:
        recorded = json.loads(path.read_text("utf-8"))["turn_1"]
        self.path = recorded["path"]
        self.api = str(api_of(self.path))
        self.headers = {n: v for n, v in recorded["headers"] if n.lower() not in OWN}
        self.body = copy.deepcopy(without_notes(recorded["body"]))
        self.items = self.body["input" if self.api == "responses" else "messages"]
        self._prompt: Any = ""

    @property
    def tool(self) -> str | None:
        """The first that takes JSON, by the name the program gave it."""
        for tool in self.body.get("tools", []):
            if tool.get("type", "custom") in ("function", "custom") and "custom" not in tool:
                return str(tool.get("function", tool)["name"])
        return None

    def tell_time(self, minute: int) -> None:
        """In the system prompt, behind what the program says there."""
        time = f"You are told the time: 12:{minute:02}."
        told = self.items[:1] if self.api in ("chat", "ollama") else []
        match self.api:
            case "responses":
                self._prompt = self._prompt or self.body.get("instructions") or ""
                self.body["instructions"] = f"{self._prompt}\n{time}"
            case "chat" | "ollama" if told and told[0]["role"] in ("system", "developer"):
                self._prompt = self._prompt or told[0]["content"]
                self.items[0] = {**told[0], "content": with_text(self._prompt, time)}
            case "chat":
                self.items.insert(0, {"role": "system", "content": time})
            case _:
                self._prompt = self._prompt or self.body.get("system") or ""
                self.body["system"] = with_text(self._prompt, time)

    def ask(self, text: str) -> None:
        self.items.append({"role": "user", "content": text})

    def hear(self, answer: bytes, content_type: str) -> tuple[Block, ...]:
        """The answer goes into the history as its API has it; what it calls is returned to it."""
        blocks = read(self.api, None, answer, content_type).answer
        if self.api == "responses":
            *_, last = [line for line in answer.decode().splitlines() if line.startswith("data: ")]
            self.items += json.loads(last.removeprefix("data: "))["response"]["output"]
        elif self.api == "chat":
            self.items.append(_chat_answer(blocks))
        elif self.api == "ollama":
            self.items.append(_ollama_answer(blocks))
        else:
            self.items.append({"role": "assistant", "content": list(blocks)})
        calls = [block for block in blocks if block["type"] == "tool_use"]
        for call in calls:
            self._give(call["id"])
        return tuple(calls)

    def _give(self, call: str) -> None:
        given: dict[str, Any]
        match self.api:
            case "responses":
                given = {"type": "function_call_output", "call_id": call, "output": "done"}
            case "chat" | "ollama":
                given = {"role": "tool", "tool_call_id": call, "content": "done"}
            case _:
                result = {"type": "tool_result", "tool_use_id": call, "content": "done"}
                given = {"role": "user", "content": [result]}
        self.items.append(given)


def with_text(prompt: Any, text: str) -> Any:
    if isinstance(prompt, str):
        return f"{prompt}\n{text}"
    return [*prompt, {"type": "text", "text": text}]


def _chat_answer(blocks: tuple[Block, ...]) -> dict[str, Any]:
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    made = {"tool_calls": calls} if calls else {}
    return {"role": "assistant", "content": text or None, **made}


def _ollama_answer(blocks: tuple[Block, ...]) -> dict[str, Any]:
    """As clients send it back that keep the ids of calls."""
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [
        {"id": block["id"], "function": {"name": block["name"], "arguments": block["input"]}}
        for block in blocks
        if block["type"] == "tool_use"
    ]
    return {"role": "assistant", "content": text, "tool_calls": calls}


def assert_seen(api: ScriptedServer, program: Program) -> None:
    """The model was shown what the program has told, reminders of its own among it."""
    told = SHAPES[program.api].parse(json.dumps(program.body).encode()).messages
    api.said.update(b["text"] for m in told for b in m.blocks if b["type"] == "text")
    shown = [
        Message(_role(role), tuple(cast("list[Block]", blocks)))
        for role, blocks in messages(api.calls[-1])
    ]
    assert chain(shown)[-1].hash == chain(told)[-1].hash


def _role(name: str) -> Role:
    return "user" if name == "user" else "assistant"


def flows(proxy: Proxy, count: int) -> list[dict[str, Any]]:
    def bridged() -> list[dict[str, Any]] | None:
        found = [flow["metadata"] for flow in proxy.flows() if flow["metadata"]]
        return found if len(found) >= count else None

    return wait_for(bridged, f"{count} flows")


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_six_turns_of_a_program(proxy: Proxy, api: ScriptedServer, path: Path) -> None:
    program, before = Program(path), len(proxy.flows())
    client = proxy.http()
    expected = ["fresh first_turn"]
    for number in range(1, TURNS + 1):
        program.tell_time(number)
        if number > 1:
            expected.append("resume continued")
            called = number == TOOL_TURN and program.tool
            program.ask(f"[call {program.tool}]" if called else f"Question {number}, {path.stem}")
        while _posted(client, program, api):
            expected.append("resume tool_results")
        system = api.calls[-1].body["system"]
        assert f"12:{number:02}." in system[-1]["text"]
    done = flows(proxy, before + len(expected))[before:]
    assert [f"{turn['plan']} {turn['reason']}" for turn in done] == expected
    assert len({turn["session"] for turn in done}) == 1
    assert [turn["process"] for turn in done[1:]] == ["live"] * (len(done) - 1)
    assert [turn["told"] for turn in done if turn["reason"] == "continued"] == [["system"]] * 5
    assert ("resume tool_results" in expected) is (program.tool is not None)


def _posted(client: httpx.Client, program: Program, api: ScriptedServer) -> bool:
    """Whether the answer calls a tool, which then has returned."""
    answer = client.post(
        f"{HOSTS.get(program.api, 'https://api.openai.com')}{program.path}",
        content=json.dumps(program.body).encode(),
        headers=program.headers,
    )
    assert answer.status_code == 200, answer.text
    assert_seen(api, program)
    return bool(program.hear(answer.content, answer.headers["content-type"]))
