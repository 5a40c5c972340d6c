"""Whatever ids a history gives its calls, the model sees each with its own result (real CLI)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sessionbridge.model import Parameters, Tool
from tests.apis.test_api_tools import ASK, parse
from tests.support.claude_cli import Stage, blocks_of, isolated, job, staged

LOOK = Tool("f", "", {"type": "object"})
ALIKE = ["", "", "a", "a", "a_2", "a_1", "fc_1", "fc_1_1", "x:0", "x.0", "call_0", "call_1", "0"]


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, isolated(monkeypatch, tmp_path)) as made:
        yield made


@pytest.mark.parametrize("at_once", [True, False], ids=["parallel", "one by one"])
@pytest.mark.parametrize("order", [1, -1], ids=["forth", "back"])
async def test_each_result_reaches_the_model(stage: Stage, at_once: bool, order: int) -> None:
    given: list[Any] = [ASK]
    calls = ALIKE[::order]
    for some in [calls] if at_once else [[call] for call in calls]:
        given += [("calls", *some), ("results", *some)]
    *feed, ask = parse("chat", *given, ("assistant", "Done."), ASK).messages
    await stage.answer(job(ask, "import", feed=tuple(feed), parameters=Parameters(tools=(LOOK,))))
    assert stage.blocks == blocks_of(*feed, ask)
