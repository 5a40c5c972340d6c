"""Agents of a library that knows nothing of the bridge: two tools, five rounds, all three APIs."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.support.proxy import Proxy
from tests.support.scripted_api import ScriptedServer

MODEL = "claude-sonnet-5"
STEPS = [
    ("look", 1, 'one seen [call note {"step": 2}]'),
    ("note", 2, 'two noted [call look {"step": 3}]'),
    ("look", 3, 'three seen [call look {"step": 4}] [call note {"step": 4}]'),
    ("note", 4, 'four noted [call note {"step": 5}]'),
    ("note", 5, "five noted"),
]
ROUNDS = 5


def _anthropic(client: httpx2.AsyncClient, headers: dict[str, str]) -> Model:
    api = AsyncAnthropic(api_key="sk-ant-x", default_headers=headers, http_client=client)
    return AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=api))


def _openai(client: httpx2.AsyncClient, headers: dict[str, str]) -> OpenAIProvider:
    api = AsyncOpenAI(api_key="sk-x", default_headers=headers, http_client=client)
    return OpenAIProvider(openai_client=api)


MODELS: dict[str, Callable[[httpx2.AsyncClient, dict[str, str]], Model]] = {
    "messages": _anthropic,
    "chat": lambda *given: OpenAIChatModel(MODEL, provider=_openai(*given)),
    "responses": lambda *given: OpenAIResponsesModel(MODEL, provider=_openai(*given)),
}


@asynccontextmanager
async def _client(proxy: Proxy) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        proxy=proxy.url, verify=proxy.tls(), timeout=30, trust_env=False
    ) as client:
        yield client


def _agent(model: Model, called: list[tuple[str, int]]) -> Agent[None, str]:
    agent: Agent[None, str] = Agent(model, instructions="You look and take notes.")

    def returned(name: str, step: int) -> str:
        called.append((name, step))
        return next((said for *known, said in STEPS if known == [name, step]), "nothing new")

    @agent.tool_plain
    def look(step: int) -> str:
        """Looks at one step."""
        return returned("look", step)

    @agent.tool_plain
    def note(step: int) -> str:
        """Notes one step."""
        return returned("note", step)

    return agent


async def _read(_: object, events: AsyncIterable[object]) -> None:
    """With a reader of events the library asks for a stream."""
    async for _ in events:
        pass


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("api_name", MODELS)
async def test_an_agent_works_through_the_bridge(
    proxy: Proxy, api: ScriptedServer, api_name: str, streamed: bool
) -> None:
    session = f"agent-{api_name}-{streamed}"
    called: list[tuple[str, int]] = []
    async with _client(proxy) as client:
        # Its history is the client's own, whichever API it speaks.
        headers = {
            "User-Agent": "opencode/1",
            "x-session-affinity": session,
            "x-session-id": session,
        }
        agent = _agent(MODELS[api_name](client, headers), called)
        prompt = f'{session} [call look {{"step": 1}}]'
        text = (await agent.run(prompt, event_stream_handler=_read if streamed else None)).output
    assert text.endswith("five noted")
    assert sorted(called) == sorted([*((name, step) for name, step, _ in STEPS), ("look", 4)])
    flows = proxy.bridged(session, ROUNDS + 1)
    reasons = [flow["metadata"]["reason"] for flow in flows]
    assert reasons == ["first_turn", *["tool_results"] * ROUNDS]
    assert len({flow["metadata"]["session"] for flow in flows}) == 1
    shown = _pairs(api.calls[-1].body)
    # The library runs the calls of one step side by side, in an order of its own.
    assert sorted(shown) == sorted(called)
    assert [step for _, step in shown] == sorted(step for _, step in called)


def _pairs(body: Any) -> list[tuple[str, int]]:
    """The calls the model was shown last; each is answered in the message after it."""
    shown = []
    for message, after in zip(body["messages"], body["messages"][1:], strict=False):
        calls = [b for b in message["content"] if isinstance(b, dict) and b["type"] == "tool_use"]
        if calls:
            results = [b["tool_use_id"] for b in after["content"] if b["type"] == "tool_result"]
            assert results == [call["id"] for call in calls]
            shown += [(call["name"], call["input"]["step"]) for call in calls]
    return shown
