"""Every field of the request that the model gets, beside the conversation (real CLI): each is the
client's, the API's default, or one of the CLI's own that docs/what-the-model-sees.md lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sessionbridge.claude.job import MOST_TOKENS
from sessionbridge.model import Effort, Parameters, Thinking
from tests.support.claude_cli import Stage, job
from tests.support.live_processes import stage

__all__ = ["stage"]

OLD = ("claude-sonnet-4-5", "claude-opus-4-6")
"""Models that take a temperature."""

CONVERSATION = {"model", "messages", "system", "tools"}


def fields(stage: Stage) -> dict[str, Any]:
    body = stage.api.calls[-1].body
    told = {name: value for name, value in body.items() if name not in CONVERSATION}
    assert told.pop("stream") is True
    user = json.loads(told.pop("metadata")["user_id"])
    assert user.keys() == {"device_id", "account_uuid", "session_id"}
    assert told.pop("temperature", None) == (
        1 if body["model"] in OLD and not _thinks(told) else None
    )
    return told


def _thinks(told: dict[str, Any]) -> bool:
    return "thinking" in told


@pytest.mark.parametrize("model", ["default", "sonnet", "haiku", "claude-sonnet-5", *OLD])
async def test_what_the_client_leaves_out_is_the_apis_default(stage: Stage, model: str) -> None:
    await stage.answer(job("Hi", model=model))
    told = fields(stage)
    assert 32_000 <= told.pop("max_tokens") <= MOST_TOKENS
    # Models before 4.6 know no effort.
    assert told == ({} if model == "claude-sonnet-4-5" else {"output_config": {"effort": "high"}})


@pytest.mark.parametrize("effort", ["low", "medium", "max"])
async def test_what_the_client_asks_for_is_sent(stage: Stage, effort: Effort) -> None:
    asked = Parameters(max_tokens=777, effort=effort, thinking=Thinking())
    await stage.answer(job("Hi", model="sonnet", parameters=asked))
    assert fields(stage) == {
        "max_tokens": 777,
        "output_config": {"effort": effort},
        "thinking": {"type": "adaptive", "display": "summarized"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }


async def test_a_budget_is_for_models_that_take_one(stage: Stage) -> None:
    asked = Parameters(max_tokens=4000, thinking=Thinking(budget=2000))
    await stage.answer(job("Hi", model="claude-sonnet-4-5", parameters=asked))
    assert fields(stage)["thinking"] == {
        "type": "enabled",
        "budget_tokens": 2000,
        "display": "summarized",
    }
